"""What one deployment's closed windows lead to: findings, and requests to train.

A finding of a kind opens once and stays open until its figure is back: a new champion alone resolves nothing. While it is open it asks
for retrains as `asking` says, and so does a deployment without a version, from `first_after` or `first_after_rows` on.
"""

from dataclasses import dataclass, field

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import (
    FindingOpened,
    FindingResolved,
    MonitorState,
    SourceProfile,
    VersionQuality,
    WindowClosed,
)
from headrace.events.training import RetrainRequested
from headrace.log.envelope import derived_id, format_instant
from headrace_monitor.core import priors, unlabelled
from headrace_monitor.core.asking import FIRST, TrainingFact
from headrace_monitor.core.asks import Asks, GaveUp, Standing
from headrace_monitor.core.contracts import WINDOWS_KEPT, Broken, judge
from headrace_monitor.core.drift import Detector, detector_of, restored
from headrace_monitor.core.findings import ONCE
from headrace_monitor.core.loss_change import Figure, Rise
from headrace_monitor.core.skew import skew_of

# One-sided 95 %.
SURE = 1.645

Said = FindingOpened | FindingResolved | RetrainRequested | GaveUp | priors.Concern


@dataclass
class Watch:
    """The monitor's memory of one deployment."""

    deployment: DeploymentDefinition
    detectors: list[Detector]
    champion: int | None = None
    open: dict[str, FindingOpened] = field(default_factory=dict)
    closed_cohorts: int = 0
    labelled_total: int = 0
    profiles: dict[str, list[SourceProfile]] = field(default_factory=dict)
    worse: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    clock_s: float = 0.0
    asks: Asks = field(init=False)

    def __post_init__(self) -> None:
        self.asks = Asks(self.deployment)

    def on_window(self, window: WindowClosed, served: int | None, clock_s: float) -> list[Said]:
        """A window has closed. `served`: the one version that was champion throughout, None for none."""
        self.closed_cohorts += 1
        self.labelled_total += window.labelled
        self.clock_s = clock_s
        said = [
            *self._sources(window),
            *self._skew(window),
            *self._labels(window, clock_s),
            *self._drift(window, served, clock_s),
            *self._priors(window, clock_s),
        ]
        return [*said, *self.asks.on_window(served, self._standing)]

    def on_champion(self, version: int, at_s: float) -> list[Said]:
        """Another version is champion: detectors start anew. What is open stays open until its figure is back."""
        if version == self.champion:
            return []
        self.champion = version
        self.asks.end(FIRST)
        for detector in self.detectors:
            detector.restart(version)
        worse = [found for key, found in self.open.items() if key.startswith(priors.KIND)]
        return [priors.Concern(found, found.version == version) for found in worse]

    def on_training(self, fact: TrainingFact) -> list[Said]:
        """What the trainer said of the deployment."""
        return list(self.asks.on_training(fact, self._standing))

    @property
    def _standing(self) -> Standing:
        return Standing(self.clock_s, self.closed_cohorts, self.labelled_total, self.champion, self.open)

    def _drift(self, window: WindowClosed, served: int | None, clock_s: float) -> list[Said]:
        quality = self._of_champion(window, served)
        if quality is None or quality.loss is None or window.verdict != "PASS":
            return []
        rises = [detector.update(figure_of(window.from_s, quality)) for detector in self.detectors]
        known = self.open.get("drift")
        if known is not None:
            # NB: of a sparse stream, or of the part of a window in which it still answered, a few lucky rows bring nothing back.
            is_back = known.back_at is not None and quality.loss + SURE * quality.loss_error <= known.back_at
            told = f"{quality.loss_name} of version {quality.version} is back: {quality.loss:.3f}"
            return self._back(told, clock_s) if is_back else []
        found = next(((n, rise) for n, rise in enumerate(rises) if rise is not None), None)
        return [] if found is None else self._found(self._drifted(window, quality, *found, clock_s))

    def _of_champion(self, window: WindowClosed, served: int | None) -> VersionQuality | None:
        """The champion's figures: of a window that it served throughout, or in which it only scored along since it is passed over."""
        is_down = f"{priors.KIND}:version {self.champion}" in self.open
        role = "champion" if served is not None and served == self.champion else "shadow" if is_down else ""
        return next((q for q in window.qualities if q.version == self.champion and q.role == role), None)

    def _drifted(
        self, window: WindowClosed, quality: VersionQuality, number: int, rise: Rise, clock_s: float
    ) -> FindingOpened:
        plan = self.deployment.monitoring[number]
        told = f"from {rise.before:.3f} to {quality.loss:.3f} on the last closed window"
        return FindingOpened(
            finding=derived_id(self.deployment.name, "drift", window.from_s, quality.version)[:16],
            deployment=self.deployment.name,
            kind="drift",
            summary=f"{quality.loss_name} of version {quality.version} has risen {told}, since {format_instant(rise.began_s)}",
            at_s=clock_s,
            version=quality.version,
            detector=plan.detector,
            measured=quality.loss,
            limit=plan.threshold,
            window_from_s=window.from_s,
            window_to_s=window.to_s,
            changed_at_s=rise.began_s,
            back_at=rise.back_at,
        )

    def _back(self, reason: str, at_s: float) -> list[Said]:
        for detector in self.detectors:
            detector.settle()
        return self._resolve("drift", reason, at_s)

    def _priors(self, window: WindowClosed, clock_s: float) -> list[Said]:
        """Versions that do worse than the prior for too long, and those that do not any more."""
        after = self.deployment.step_down_after
        if after is None or window.verdict != "PASS":
            return []
        found = priors.by_version(window.qualities)
        self.worse = priors.counted(self.worse, found)
        said: list[Said] = []
        for version, quality in found.items():
            key = f"{priors.KIND}:version {version}"
            if key in self.open and not priors.is_worse(quality):
                said += self._resolve(key, priors.not_worse(quality), clock_s)
            elif key not in self.open and self.worse.get(str(version), 0) >= after:
                opened = self._worse(window, quality, clock_s)
                said += [*self._found(opened), *([priors.Concern(opened, True)] if version == self.champion else [])]
        gone = [key for key in self.open if key.startswith(priors.KIND) and not self._is_scored(key, window)]
        return [*said, *(told for key in gone for told in self._resolve(key, "it is not asked any more", clock_s))]

    def _is_scored(self, key: str, window: WindowClosed) -> bool:
        version = int(key.rpartition(" ")[2])
        return version == self.champion or any(quality.version == version for quality in window.qualities)

    def _worse(self, window: WindowClosed, quality: VersionQuality, clock_s: float) -> FindingOpened:
        times = self.worse[str(quality.version)]
        told = f"{quality.loss_name} {quality.loss or 0.0:.3f} lies {quality.over_prior:.3f} above the prior's, in {times} windows in a row"
        return FindingOpened(
            finding=derived_id(self.deployment.name, priors.KIND, window.from_s, quality.version)[:16],
            deployment=self.deployment.name,
            kind=priors.KIND,
            summary=f"version {quality.version} is worse than the prior: {told}; requests pass over it until it is better again",
            at_s=clock_s,
            version=quality.version,
            detector="prior",
            measured=quality.over_prior,
            limit=0.0,
            window_from_s=window.from_s,
            window_to_s=window.to_s,
            about=f"version {quality.version}",
        )

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
                said += self._found(self._finding(one, window))
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

    def _found(self, found: FindingOpened) -> list[Said]:
        key = key_of(found)
        self.open[key] = found
        self.asks.begin(key, found)
        return [found]

    def ask_for_what_is_open(self) -> None:
        """Findings that were opened before asks were kept, or before retraining was declared, ask from now on."""
        for found in list(self.open.values()):
            if key_of(found) not in self.asks.by_key:
                self.asks.begin(key_of(found), found)

    def _labels(self, window: WindowClosed, clock_s: float) -> list[Said]:
        """Windows in a row that could not be judged, since too few labels came: nothing is found in them, and that must be known."""
        if self.deployment.label is None:
            return []
        self.unlabelled = self.unlabelled + 1 if window.verdict != "PASS" else 0
        if not self.unlabelled:
            return self._resolve(unlabelled.KIND, "labels come again", clock_s)
        if self.unlabelled < unlabelled.WINDOWS or unlabelled.KIND in self.open:
            return []
        return self._found(unlabelled.labels_missing(window, self.unlabelled, clock_s))

    def _skew(self, window: WindowClosed) -> list[Said]:
        if window.parity_tiles is None or window.parity_as_of is None:
            return []
        found = skew_of(self.deployment.name, window)
        if found is None:
            return self._resolve("skew", "served rows equal recomputed ones again", window.to_s)
        return [] if "skew" in self.open else self._found(found)

    def _resolve(self, key: str, reason: str, at_s: float) -> list[Said]:
        found = self.open.pop(key, None)
        if found is None:
            return []
        self.asks.end(key)
        return [FindingResolved(found.finding, found.deployment, found.kind, reason, at_s, found.about, found.version)]

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
            asks=tuple(self.asks.by_key.values()),
            worse=self.worse,
            unlabelled=self.unlabelled,
        )


def watch_of(deployment: DeploymentDefinition, state: MonitorState | None) -> Watch:
    """The memory of a deployment, from its last state if there is one."""
    if state is None:
        return Watch(deployment, [detector_of(plan) for plan in deployment.monitoring])
    found = Watch(
        deployment,
        [restored(plan, state.champion, _part(state.detector, n)) for n, plan in enumerate(deployment.monitoring)],
        state.champion,
        {key_of(found): found for found in state.open_findings},
        state.closed_cohorts,
        state.labelled_total,
        {name: [p for p in state.profiles if p.source == name] for name in {p.source for p in state.profiles}},
        dict(state.worse),
        state.unlabelled,
        state.closed_to_s,
    )
    found.asks.by_key |= {ask.key: ask for ask in state.asks}
    found.ask_for_what_is_open()
    return found


def figure_of(from_s: float, quality: VersionQuality) -> Figure:
    """What detectors are fed. Where a score does not say what loss to expect, the loss is its own excess."""
    loss, expected = quality.loss or 0.0, quality.expected_log_loss or 0.0
    errors = (quality.loss_error, loss - expected, quality.excess_error)
    return Figure(from_s, loss, *errors, quality.rows, quality.loss_skew)


def key_of(found: FindingOpened) -> str:
    """What a finding is open under: drift, skew and missing labels once per deployment, the others once per source or column."""
    return found.kind if found.kind in ONCE else f"{found.kind}:{found.about}"


def _part(state: dict[str, float], number: int) -> dict[str, float]:
    return {key.partition(":")[2]: value for key, value in state.items() if key.startswith(f"{number}:")}
