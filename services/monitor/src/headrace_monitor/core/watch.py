"""What one deployment's closed cohorts lead to: windows, findings, retrain requests.

A finding of a kind opens once and stays open until resolved; it asks for at most one retrain. A deployment without a
version asks for its first one when enough cohorts have closed, and again after every week of cohorts while it has none.
"""

from dataclasses import dataclass, field

from headrace.envelope import derived_id
from headrace.events.monitor import FindingOpened, FindingResolved, MonitorState, SourceProfile, WindowClosed
from headrace.events.training import RetrainRequested
from headrace.project.definition import DeploymentDefinition
from headrace_monitor.core.contracts import WINDOWS_KEPT, Broken, judge
from headrace_monitor.core.drift import CohortDetector, restored
from headrace_monitor.core.skew import skew_of

ASK_AGAIN_AFTER_COHORTS = 7

Said = FindingOpened | FindingResolved | RetrainRequested


@dataclass
class Watch:
    """The monitor's memory of one deployment."""

    deployment: DeploymentDefinition
    detectors: list[CohortDetector]
    champion: int | None = None
    open: dict[str, FindingOpened] = field(default_factory=dict)
    closed_cohorts: int = 0
    labelled_total: int = 0
    profiles: dict[str, list[SourceProfile]] = field(default_factory=dict)

    def on_window(self, window: WindowClosed, served: int | None, clock_s: float) -> list[Said]:
        """A cohort has closed."""
        self.closed_cohorts += 1
        self.labelled_total += window.labelled
        return [
            *self._sources(window),
            *self._skew(window),
            *self._drift(window, served, clock_s),
            *self._first(clock_s),
        ]

    def on_champion(self, version: int, at_s: float) -> list[Said]:
        """Another version is champion: detectors start anew, and what was found about the old one is over."""
        if version == self.champion:
            return []
        self.champion = version
        for detector in self.detectors:
            detector.restart(version)
        return self._resolve("drift", f"version {version} is champion", at_s)

    def _drift(self, window: WindowClosed, served: int | None, clock_s: float) -> list[Said]:
        if served is None or served != self.champion:
            return []
        figure = next((q.loss for q in window.qualities if q.version == served and q.role == "champion"), None)
        if figure is None or window.verdict != "PASS":
            return []
        said: list[Said] = []
        for detector, plan in zip(self.detectors, self.deployment.monitoring, strict=True):
            if detector.update(figure) and "drift" not in self.open:
                found = FindingOpened(
                    finding=derived_id(self.deployment.name, "drift", window.from_s, served)[:16],
                    deployment=self.deployment.name,
                    kind="drift",
                    summary=f"{plan.figure} of version {served} has risen: {figure:.3f} on the last closed cohort",
                    at_s=clock_s,
                    version=served,
                    detector=plan.detector,
                    measured=figure,
                    limit=plan.threshold,
                    window_from_s=window.from_s,
                    window_to_s=window.to_s,
                )
                said += self._found(found, clock_s)
        return said

    def _sources(self, window: WindowClosed) -> list[Said]:
        """Findings on sources that are not as usual; usual windows are what later ones are judged by."""
        said: list[Said] = []
        broken: dict[str, Broken] = {}
        for profile in window.sources:
            history = self.profiles.setdefault(profile.source, [])
            found = judge(history, profile)
            broken |= {f"{one.kind}:{one.about}": one for one in found}
            if not found:
                self.profiles[profile.source] = [*history, profile][-WINDOWS_KEPT:]
        profiled = {profile.source for profile in window.sources}
        gone = [
            key
            for key in self.open
            if key.partition(":")[0] in ("traffic", "contract")
            and key not in broken
            and key.partition(":")[2].partition(".")[0] in profiled
        ]
        for key in gone:
            said += self._resolve(key, "as usual again", window.to_s)
        for key, one in broken.items():
            if key not in self.open:
                said += self._found(self._finding(one, window), window.to_s)
        return said

    def _finding(self, broken: Broken, window: WindowClosed) -> FindingOpened:
        return FindingOpened(
            finding=derived_id(self.deployment.name, broken.kind, broken.about, window.from_s)[:16],
            deployment=self.deployment.name,
            kind=broken.kind,
            summary=broken.summary,
            at_s=window.to_s,
            detector="profile",
            measured=broken.measured,
            limit=broken.limit,
            window_from_s=window.from_s,
            window_to_s=window.to_s,
            about=broken.about,
        )

    def _found(self, found: FindingOpened, clock_s: float) -> list[Said]:
        self.open[key_of(found)] = found
        retraining = self.deployment.retraining
        if retraining is None or found.kind not in retraining.on or self.deployment.training is None:
            return [found]
        return [
            found,
            RetrainRequested(self.deployment.name, found.kind, found.summary, "monitor", found.finding, clock_s),
        ]

    def _skew(self, window: WindowClosed) -> list[Said]:
        if window.parity_tiles is None or window.parity_as_of is None:
            return []
        found = skew_of(self.deployment.name, window)
        if found is None:
            return self._resolve("skew", "served rows equal recomputed ones again", window.to_s)
        return [] if "skew" in self.open else self._found(found, window.to_s)

    def _first(self, clock_s: float) -> list[Said]:
        training = self.deployment.training
        if training is None or self.champion is not None:
            return []
        needed = max(round(training.first_after_s / self.deployment.cohort_s), 1)
        beyond = self.closed_cohorts - needed
        if beyond < 0 or beyond % ASK_AGAIN_AFTER_COHORTS:
            return []
        reason = f"no version yet, and {self.closed_cohorts} cohorts with {self.labelled_total} labels have closed"
        return [RetrainRequested(self.deployment.name, "first", reason, "monitor", None, clock_s)]

    def _resolve(self, key: str, reason: str, at_s: float) -> list[Said]:
        found = self.open.pop(key, None)
        if found is None:
            return []
        return [FindingResolved(found.finding, found.deployment, found.kind, reason, at_s, found.about)]

    def state(self, replay_from: dict[str, int], closed_to_s: float) -> MonitorState:
        """Enough to go on after a restart."""
        return MonitorState(
            deployment=self.deployment.name,
            replay_from=replay_from,
            closed_to_s=closed_to_s,
            champion=self.champion,
            detector={
                f"{n}:{key}": value for n, found in enumerate(self.detectors) for key, value in found.state().items()
            },
            open_findings=tuple(self.open.values()),
            closed_cohorts=self.closed_cohorts,
            labelled_total=self.labelled_total,
            profiles=tuple(found for history in self.profiles.values() for found in history),
        )


def watch_of(deployment: DeploymentDefinition, state: MonitorState | None) -> Watch:
    """The memory of a deployment, from its last state if there is one."""
    if state is None:
        return Watch(deployment, [CohortDetector(plan) for plan in deployment.monitoring])
    return Watch(
        deployment,
        [restored(plan, state.champion, _part(state.detector, n)) for n, plan in enumerate(deployment.monitoring)],
        state.champion,
        {key_of(found): found for found in state.open_findings},
        state.closed_cohorts,
        state.labelled_total,
        {name: [p for p in state.profiles if p.source == name] for name in {p.source for p in state.profiles}},
    )


def key_of(found: FindingOpened) -> str:
    """What a finding is open under: drift and skew once per deployment, the others once per source or column."""
    return found.kind if found.kind in ("drift", "skew") else f"{found.kind}:{found.about}"


def _part(state: dict[str, float], number: int) -> dict[str, float]:
    return {key.partition(":")[2]: value for key, value in state.items() if key.startswith(f"{number}:")}
