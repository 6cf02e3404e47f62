"""Findings: what the closed windows of one deployment lead to, and which of it is open.

A finding of a kind opens once, and stays open until its figure is back: a new champion alone resolves nothing. While it is
open it asks for retrains, as `retrain_requests` decides. Which window shows what is decided by one module per kind: `drift`,
`skew`, `missing_labels`, `worse_than_prior`, and `contracts` for sources.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import (
    FindingOpened,
    FindingResolved,
    MonitorState,
    SourceProfile,
    Usual,
    VersionQuality,
    WindowClosed,
)
from headrace.events.verdicts import PASS
from headrace.log.envelope import derived_id
from headrace.step import Step
from headrace_monitor.core import drift, missing_labels, retrain_requests, skew, worse_than_prior
from headrace_monitor.core import estimation as estimates
from headrace_monitor.core.contracts import WINDOWS_KEPT, Broken, judge
from headrace_monitor.core.drift import Detector
from headrace_monitor.core.estimation import Estimation
from headrace_monitor.core.facts import Concern, FindingFact
from headrace_monitor.core.finding_alarms import ONCE
from headrace_monitor.core.retrain_reasons import FIRST, TrainingFact
from headrace_monitor.core.retrain_requests import RetrainRequests, Standing
from headrace_monitor.core.usual_gain import Record, recorded

# Kinds of findings about sources.
_OF_SOURCES = ("traffic", "contract")


@dataclass(frozen=True, slots=True)
class Findings:
    """What the monitor remembers of one deployment.

    `detectors`: one per plan in `deployment.monitoring`. `champion`: its version, None when it has none. `open`: the open
    findings, by `key_of`. `windows_closed`, `labelled_total`: windows and labelled rows so far. `profiles`: per source the
    newest windows in which it was as usual. `worse`: per version (its digits) the windows in a row in which it did worse than
    the prior. `unlabelled`: windows in a row that too few labels came for. `clock_s`: event time of the newest closed window.
    `record`: see `usual_gain`. `usual`: what a finding is explained by, see `explaining`. `estimation`: what estimates before labels are made from.
    """

    deployment: DeploymentDefinition
    detectors: tuple[Detector, ...]
    requests: RetrainRequests
    champion: int | None = None
    open: Mapping[str, FindingOpened] = field(default_factory=dict)
    windows_closed: int = 0
    labelled_total: int = 0
    profiles: Mapping[str, tuple[SourceProfile, ...]] = field(default_factory=dict)
    worse: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    clock_s: float = 0.0
    record: Record = ()
    usual: Usual | None = None
    estimation: Estimation = field(default_factory=Estimation)

    @property
    def standing(self) -> Standing:
        """Where the deployment stands, as its retrain requests need it."""
        return Standing(self.clock_s, self.windows_closed, self.labelled_total, self.champion, self.open)

    @property
    def drift_statistic(self) -> float | None:
        """How far the first detector has come; None without a detector."""
        return self.detectors[0].statistic if self.detectors else None


FindingStep = Step[Findings, FindingFact]


def key_of(found: FindingOpened) -> str:
    """What a finding is open under: its kind, or its kind and subject where a deployment may have several of that kind."""
    return found.kind if found.kind in ONCE else f"{found.kind}:{found.about}"


# What happens to a deployment


def on_window(findings: Findings, window: WindowClosed, served: int | None, clock_s: float) -> FindingStep:
    """A window has closed, at `clock_s` of event time.

    `served`: the version that was champion throughout the window; None when there was no such version.
    """
    findings = replace(
        findings,
        windows_closed=findings.windows_closed + 1,
        labelled_total=findings.labelled_total + window.labelled,
        clock_s=clock_s,
        record=recorded(findings.record, window, findings.deployment.label),
    )
    step: FindingStep = Step(findings)
    for judged in (_on_sources, _on_skew, _on_labels, _on_losses, _on_priors):
        step = _then(step, judged, window, served)
    return _then(step, _with_requests, served)


def on_champion(findings: Findings, version: int) -> FindingStep:
    """Another version is champion: the detectors begin anew, and what is open stays open until its figure is back."""
    if version == findings.champion:
        return Step(findings)
    after = replace(
        findings,
        champion=version,
        requests=retrain_requests.end(findings.requests, FIRST),
        detectors=tuple(detector.restarted(version) for detector in findings.detectors),
    )
    worse = [found for key, found in findings.open.items() if key.startswith(worse_than_prior.KIND)]
    return Step(after, tuple(Concern(found, found.version == version) for found in worse))


def on_training(findings: Findings, fact: TrainingFact) -> FindingStep:
    """The trainer reported about the deployment."""
    step = retrain_requests.on_training(findings.requests, fact, findings.standing)
    return Step(replace(findings, requests=step.state), step.facts)


def on_inputs(
    findings: Findings, opened: Iterable[FindingOpened], over: Mapping[str, tuple[str, float]]
) -> FindingStep:
    """The inputs were looked at. `over`: the keys of findings that are over, with the reason and the instant."""
    step: FindingStep = Step(findings)
    for key, (reason, at_s) in over.items():
        step = _then(step, _resolve, key, reason, at_s)
    for found in opened:
        step = _then(step, _open, found)
    return step


def forget_profiles(findings: Findings) -> Findings:
    """The findings of a deployment that reads other sources from now on: what was usual of the old ones says nothing about them."""
    return replace(findings, profiles={})


# What is judged in a closed window


def _on_sources(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Sources that are not as usual. Usual windows are what later ones are compared with."""
    broken: dict[str, Broken] = {}
    profiles = dict(findings.profiles)
    for profile in window.sources:
        history = profiles.get(profile.source, ())
        found = judge(history, profile)
        broken |= {f"{one.kind}:{one.about}": one for one in found}
        if not found:
            profiles[profile.source] = (*history, profile)[-WINDOWS_KEPT:]
    step: FindingStep = Step(replace(findings, profiles=profiles))
    profiled = {profile.source for profile in window.sources}
    for key in findings.open:
        kind, _, about = key.partition(":")
        is_known = about.partition(".")[0] in profiled and findings.open[key].at_s <= window.to_s
        if kind in _OF_SOURCES and key not in broken and is_known:
            step = _then(step, _resolve, key, "as usual again", window.to_s)
    for key, one in broken.items():
        if key not in findings.open:
            step = _then(step, _open, _source_finding(one, window))
    return step


def _on_skew(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Served rows that differ from recomputed ones."""
    if window.parity_tiles is None or window.parity_as_of is None:
        return Step(findings)
    found = skew.skew_of(findings.deployment.name, window)
    if found is None:
        return _resolve(findings, skew.KIND, "served rows equal recomputed ones again", window.to_s)
    return Step(findings) if skew.KIND in findings.open else _open(findings, found)


def _on_labels(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Windows in a row that could not be judged because too few labels came: nothing is found in them, and that must be known."""
    if findings.deployment.label is None:
        return Step(findings)
    unlabelled = findings.unlabelled + 1 if window.verdict != PASS else 0
    findings = replace(findings, unlabelled=unlabelled)
    if not unlabelled:
        return _resolve(findings, missing_labels.KIND, "labels come again", findings.clock_s)
    if unlabelled < missing_labels.WINDOWS or missing_labels.KIND in findings.open:
        return Step(findings)
    return _open(findings, missing_labels.labels_missing(window, unlabelled, findings.clock_s))


def _on_losses(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """A rise of the champion's loss."""
    quality = _champion_quality(findings, window, served)
    if quality is None or quality.loss is None or window.verdict != PASS:
        return Step(findings)
    fed = [detector.on_figure(drift.figure_of(window.from_s, quality)) for detector in findings.detectors]
    findings = replace(findings, detectors=tuple(step.state for step in fed))
    known = findings.open.get(drift.KIND)
    if known is not None:
        if not drift.is_back(quality, known):
            return Step(findings)
        reason = f"{quality.loss_name} of version {quality.version} is back: {quality.loss:.3f}"
        findings = replace(findings, detectors=tuple(detector.resolved() for detector in findings.detectors))
        return _resolve(findings, drift.KIND, reason, findings.clock_s)
    rises = [
        (plan, step.facts[0]) for plan, step in zip(findings.deployment.monitoring, fed, strict=True) if step.facts
    ]
    if not rises:
        return Step(findings)
    return _open(findings, drift.finding_of(window, quality, *rises[0], findings.clock_s))


def _champion_quality(findings: Findings, window: WindowClosed, served: int | None) -> VersionQuality | None:
    """How the champion did in a window that it served throughout, or in which it only scored in shadow because it is passed over."""
    is_passed_over = worse_than_prior.key_of(findings.champion) in findings.open
    is_serving = served is not None and served == findings.champion
    role = "champion" if is_serving else "shadow" if is_passed_over else ""
    return next((q for q in window.qualities if q.version == findings.champion and q.role == role), None)


def _on_priors(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Versions that do worse than the prior for too long, and those that no longer do."""
    after, clock_s = findings.deployment.step_down_after, findings.clock_s
    if after is None or window.verdict != PASS:
        return Step(findings)
    qualities = worse_than_prior.by_version(window.qualities)
    findings = replace(findings, worse=worse_than_prior.counted(findings.worse, qualities))
    step: FindingStep = Step(findings)
    for version, quality in qualities.items():
        key, windows = worse_than_prior.key_of(version), findings.worse.get(str(version), 0)
        if key in findings.open and not worse_than_prior.is_worse(quality):
            step = _then(step, _resolve, key, worse_than_prior.why_not_worse(quality), clock_s)
        elif key not in findings.open and windows >= after:
            opened = worse_than_prior.finding_of(window, quality, windows, clock_s)
            concern = (Concern(opened, True),) if version == findings.champion else ()
            step = _then(step, _open, opened)
            step = Step(step.state, step.facts + concern)
    unasked = [
        key
        for key in step.state.open
        if key.startswith(worse_than_prior.KIND) and not _is_scored(findings.champion, key, window)
    ]
    for key in unasked:
        step = _then(step, _resolve, key, "it is not asked any more", clock_s)
    return step


def _is_scored(champion: int | None, key: str, window: WindowClosed) -> bool:
    """Whether the version of a finding still scores requests, or is champion."""
    version = worse_than_prior.version_of(key)
    return version == champion or any(quality.version == version for quality in window.qualities)


def _with_requests(findings: Findings, served: int | None) -> FindingStep:
    step = retrain_requests.on_window(findings.requests, served, findings.standing)
    return Step(replace(findings, requests=step.state), step.facts)


# Opening and resolving


def _then(step: FindingStep, further: Callable[..., FindingStep], *args: object) -> FindingStep:
    """A step, and a further one from the state after it: `further(state, *args)`."""
    after = further(step.state, *args)
    return Step(after.state, step.facts + after.facts)


def _open(findings: Findings, found: FindingOpened) -> FindingStep:
    key = key_of(found)
    requests = retrain_requests.begin(findings.requests, key, found)
    return Step(replace(findings, open={**findings.open, key: found}, requests=requests), (found,))


def _resolve(findings: Findings, key: str, reason: str, at_s: float) -> FindingStep:
    found = findings.open.get(key)
    if found is None:
        return Step(findings)
    resolved = FindingResolved(found.finding, found.deployment, found.kind, reason, at_s, found.about, found.version)
    left = {other: kept for other, kept in findings.open.items() if other != key}
    requests = retrain_requests.end(findings.requests, key)
    return Step(replace(findings, open=left, requests=requests), (resolved,))


def _source_finding(broken: Broken, window: WindowClosed) -> FindingOpened:
    return FindingOpened(
        finding=derived_id(window.deployment, broken.kind, broken.about, window.from_s)[:16],
        deployment=window.deployment,
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


# What is remembered


def memory_of(findings: Findings, replay_from: dict[str, int], closed_to_s: float) -> MonitorState:
    """Enough to go on after a restart. `replay_from`, `closed_to_s`: see `MonitorState`."""
    numbers = {
        f"{n}:{key}": value
        for n, detector in enumerate(findings.detectors)
        for key, value in detector.numbers().items()
    }
    return MonitorState(
        deployment=findings.deployment.name,
        replay_from=replay_from,
        closed_to_s=closed_to_s,
        champion=findings.champion,
        detector=numbers,
        open_findings=tuple(findings.open.values()),
        closed_windows=findings.windows_closed,
        labelled_total=findings.labelled_total,
        profiles=tuple(profile for history in findings.profiles.values() for profile in history),
        asks=tuple(findings.requests.by_key.values()),
        worse=dict(findings.worse),
        unlabelled=findings.unlabelled,
        record=findings.record,
        usual=findings.usual,
        estimation=estimates.state_of(findings.estimation),
    )


def findings_of(deployment: DeploymentDefinition, memory: MonitorState | None) -> Findings:
    """The findings of a deployment behind its memory; those of one that was never monitored when `memory` is None."""
    plans = deployment.monitoring
    if memory is None:
        return Findings(deployment, tuple(map(drift.detector_of, plans)), RetrainRequests(deployment))
    sources = {profile.source for profile in memory.profiles}
    restored = [drift.restored(plan, memory.champion, _part(memory.detector, n)) for n, plan in enumerate(plans)]
    found = Findings(
        deployment,
        tuple(restored),
        RetrainRequests(deployment, {ask.key: ask for ask in memory.asks}),
        memory.champion,
        {key_of(opened): opened for opened in memory.open_findings},
        memory.closed_windows,
        memory.labelled_total,
        {name: tuple(p for p in memory.profiles if p.source == name) for name in sorted(sources)},
        memory.worse,
        memory.unlabelled,
        memory.closed_to_s,
        memory.record,
        memory.usual,
        estimates.restored(memory.estimation),
    )
    return replace(found, requests=_all_asking(found))


def _all_asking(findings: Findings) -> RetrainRequests:
    """Findings that opened before requests were kept, or before retraining was declared, ask from now on."""
    requests = findings.requests
    for key, found in findings.open.items():
        if key not in requests.by_key:
            requests = retrain_requests.begin(requests, key, found)
    return requests


def _part(numbers: dict[str, float], detector: int) -> dict[str, float]:
    return {key.partition(":")[2]: value for key, value in numbers.items() if key.startswith(f"{detector}:")}
