"""Findings: what the closed windows of one deployment lead to, and which of it is open.

A finding of a kind opens once, and stays open until its figure is back: a new champion alone resolves nothing. While it is
open it asks for retrains, as `retrain_requests` decides. Which window shows what is decided by one module per kind: `drift`,
`skew`, `missing_labels`, `worse_than_prior`, and `contracts` for sources.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.events.audit import AuditKept
from headrace.events.charts import ChartsMemory
from headrace.events.definition import DeploymentDefinition
from headrace.events.efficacy import EfficacyKept
from headrace.events.monitor import (
    FindingOpened,
    FindingResolved,
    MonitorState,
    SourceProfile,
    Usual,
    VersionQuality,
    WindowClosed,
)
from headrace.events.policies import DriftDefinition
from headrace.events.verdicts import PASS
from headrace.step import Step
from headrace_monitor.core import charts, drift, efficacy, missing_labels, retrain_requests, skew, worse_than_prior
from headrace_monitor.core import estimation as estimates
from headrace_monitor.core.budget import reported, with_page
from headrace_monitor.core.contracts import WINDOWS_KEPT, Broken, judge, source_finding
from headrace_monitor.core.drift import Detector
from headrace_monitor.core.estimation import Estimation
from headrace_monitor.core.facts import Concern, FindingFact, FindingOver
from headrace_monitor.core.finding_alarms import ONCE
from headrace_monitor.core.further_change import CHANGED_AGAIN, begun, changed_again, with_standing
from headrace_monitor.core.loss_change import Rise
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
    `charts`: what the charts have seen. `efficacy`: of the newest switch. `audit`: of the A/A arm.
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
    charts: ChartsMemory = field(default_factory=ChartsMemory)
    efficacy: EfficacyKept | None = None
    audit: AuditKept | None = None

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
    return found.kind if found.kind in ONCE and not charts.is_quiet(found) else f"{found.kind}:{found.about}"


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
    for judged in (_on_sources, _on_skew, _on_labels, _on_charts, _on_losses, _on_priors, _on_ledger):
        step = _then(step, judged, window, served)
    return _then(_then(step, _with_efficacy, window), _with_requests, served)


def on_champion(findings: Findings, version: int) -> FindingStep:
    """Another version is champion: the detectors begin anew, and what is open stays open until its figure is back."""
    if version == findings.champion:
        return Step(findings)
    switched = efficacy.on_switch(findings.deployment.name, findings.efficacy, version, findings.champion)
    after = replace(
        findings,
        champion=version,
        efficacy=switched.state,
        requests=retrain_requests.end(findings.requests, FIRST),
        detectors=tuple(detector.restarted(version) for detector in findings.detectors),
        charts=charts.restarted(findings.charts, version),
    )
    worse = [found for key, found in findings.open.items() if key.startswith(worse_than_prior.KIND)]
    return Step(after, (*switched.facts, *(Concern(found, found.version == version) for found in worse)))


def on_training(findings: Findings, fact: TrainingFact) -> FindingStep:
    """The trainer reported about the deployment."""
    step = retrain_requests.on_training(findings.requests, fact, findings.standing)
    return Step(replace(findings, requests=step.state), step.facts)


def on_inputs(findings: Findings, changes: Iterable[FindingOpened | FindingOver]) -> FindingStep:
    """The inputs were looked at: what has opened and what is over, in this order. After a backlog one look may have both of a key."""
    step: FindingStep = Step(findings)
    for change in changes:
        if isinstance(change, FindingOver):
            step = _then(step, _resolve, change.key, change.reason, change.at_s)
        else:
            step = _then(step, _open, change)
    return step


def forget_profiles(findings: Findings) -> Findings:
    """The findings of a deployment that reads other sources from now on: what was usual of the old ones says nothing about them."""
    return replace(findings, profiles={})


# What is judged in a closed window


def _on_sources(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Sources that are not as usual. Usual windows are what later ones are compared with."""
    broken, profiles = dict[str, Broken](), dict(findings.profiles)
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
            step = _then(step, _open, source_finding(one, window))
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


def _on_charts(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """Charts that crossed their limit, that are back, and that have changed again."""
    if findings.deployment.charts is None:
        step = Step(findings)
        for pages in (True, False):
            step = _then(step, _resolve, charts.key_of_open(findings.open, pages=pages), charts.GONE, findings.clock_s)
        return step
    if not window.charts:
        return Step(findings)
    crossed = charts.crossings_of(findings.charts, window.charts)
    again = changed_again(findings.charts, window.charts)
    memory = charts.with_backs(findings.charts, window.charts, [*crossed, *again])
    step: FindingStep = Step(replace(findings, charts=memory, open=charts.joined(findings.open, crossed)))
    for pages in (True, False):
        names = [name for name in memory.backs if charts.pages_by(name) == pages]
        key = charts.key_of_open(findings.open, pages=pages)
        if key is not None and charts.is_over(memory, names):
            step = _then(step, _resolve, key, "its charts are as usual again", findings.clock_s)
            step = Step(replace(step.state, charts=charts.resolved(step.state.charts, names)), step.facts)
        elif key is not None and pages and again:
            step = _then(_then(step, _resolve, key, CHANGED_AGAIN, findings.clock_s), _open_by_charts, window, again)
        elif (opening := [found for found in crossed if found.pages == pages]) and not charts.is_open(
            findings.open, pages=pages
        ):
            step = _then(step, _open_by_charts, window, opening)
    return Step(replace(step.state, charts=with_standing(step.state.charts, step.state.open)), step.facts)


def _open_by_charts(findings: Findings, window: WindowClosed, crossed: Sequence[charts.Crossing]) -> FindingStep:
    """A finding of these sides; what stood before it does not stand any more."""
    label = findings.deployment.label
    classes = () if label is None else label.classes
    step = _open(findings, opened := charts.finding_of(window, crossed, findings.clock_s, classes))
    return Step(replace(step.state, charts=begun(with_page(step.state.charts, opened))), step.facts)


def _on_ledger(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """What is left of the budget of pages."""
    memory, ledger = reported(findings.charts, findings.deployment, findings.clock_s)
    return Step(replace(findings, charts=memory), () if ledger is None else (ledger,))


def _on_losses(findings: Findings, window: WindowClosed, served: int | None) -> FindingStep:
    """A rise of the champion's loss."""
    is_passed_over = worse_than_prior.key_of(findings.champion) in findings.open
    quality = drift.quality_of(window, findings.champion, is_passed_over=is_passed_over)
    if quality is None or window.verdict != PASS:
        return Step(findings)
    plans = findings.deployment.monitoring
    fed = [_fed(plan, detector, window, quality) for plan, detector in zip(plans, findings.detectors, strict=True)]
    findings = replace(findings, detectors=tuple(step.state for step in fed))
    known = findings.open.get(drift.KIND)
    if known is not None:
        figure = drift.figure_of(window, quality, known.about) if known.detector != charts.DETECTOR else None
        if figure is None or not drift.is_back(figure, known):
            return Step(findings)
        reason = f"{drift.words_of(quality, known.about)} of version {quality.version} is back: {figure.loss:.3f}"
        findings = replace(findings, detectors=tuple(detector.resolved() for detector in findings.detectors))
        return _resolve(findings, drift.KIND, reason, findings.clock_s)
    rises = [(plan, step.facts[0]) for plan, step in zip(plans, fed, strict=True) if step.facts]
    if not rises:
        return Step(findings)
    return _open(findings, drift.finding_of(window, quality, *rises[0], findings.clock_s))


def _fed(
    plan: DriftDefinition, detector: Detector, window: WindowClosed, quality: VersionQuality
) -> Step[Detector, Rise]:
    """A detector after a window; it stays as it is where the window does not have its figure."""
    figure = drift.figure_of(window, quality, plan.figure)
    return Step(detector) if figure is None else detector.on_figure(figure)


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
    kind, champion = worse_than_prior.KIND, findings.champion
    for key in [
        key for key in step.state.open if key.startswith(kind) and not worse_than_prior.is_scored(champion, key, window)
    ]:
        step = _then(step, _resolve, key, "it is not asked any more", clock_s)
    return step


def _with_efficacy(findings: Findings, window: WindowClosed) -> FindingStep:
    about, kept = findings.deployment, findings.efficacy
    step = efficacy.on_window(about.name, about.efficacy_s, kept, window.pairs, window.from_s, window.to_s)
    return Step(replace(findings, efficacy=step.state), step.facts)


def _with_requests(findings: Findings, served: int | None) -> FindingStep:
    gained = efficacy.has_gained(findings.efficacy)
    step = retrain_requests.on_window(findings.requests, served, findings.standing, has_gained=gained)
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


def _resolve(findings: Findings, key: str | None, reason: str, at_s: float) -> FindingStep:
    found = None if key is None else findings.open.get(key)
    if key is None or found is None:
        return Step(findings)
    resolved = FindingResolved(found.finding, found.deployment, found.kind, reason, at_s, found.about, found.version)
    left = {other: kept for other, kept in findings.open.items() if other != key}
    requests = retrain_requests.end(findings.requests, key)
    return Step(replace(findings, open=left, requests=requests), (resolved,))


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
        charts=findings.charts,
        efficacy=findings.efficacy,
        audit=findings.audit,
    )


def findings_of(deployment: DeploymentDefinition, memory: MonitorState | None) -> Findings:
    """The findings of a deployment behind its memory; those of one that was never monitored when `memory` is None."""
    plans = deployment.monitoring
    if memory is None:
        begun = Findings(deployment, tuple(map(drift.detector_of, plans)), RetrainRequests(deployment))
        return replace(begun, charts=charts.of_plan(begun.charts, deployment.charts))
    sources = {profile.source for profile in memory.profiles}
    restored = [
        drift.restored(plan, memory.champion, drift.numbers_of(memory.detector, n)) for n, plan in enumerate(plans)
    ]
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
        charts.of_plan(memory.charts or ChartsMemory(memory.champion), deployment.charts),
        memory.efficacy,
        memory.audit,
    )
    return replace(found, requests=retrain_requests.all_asking(found.requests, found.open))
