"""Detectors whose figures exist, charts that their windows can fill, and retrains on findings that can be opened."""

from collections.abc import Iterator

from headrace import cron
from headrace.events import definition as d
from headrace.events.charts import ChartsDefinition
from headrace.events.policies import DriftDefinition, RetrainingDefinition
from headrace.project.applicable.metrics import sliceable
from headrace.project.applicable.wording import KINDS, duration, unknown
from headrace.project.rules.sentences import Sentence
from headrace.stats.e_detector import LEAST_REFERENCE
from headrace.stats.figures import FIGURES, FINDINGS

# `LossChange` cannot estimate the spread from fewer windows.
_LEAST_WINDOWS = 3
# ADWIN compares no parts of fewer windows.
_LEAST_ADWIN = 10
_DAY_S = 86_400.0
# What must be declared for a kind of finding to exist: the argument, and how to write it.
_NEEDS = {
    "drift": ("monitoring", "monitoring=[Charts()]"),
    "skew": ("features", "features=[...]"),
    "contract": ("features", "features=[...]"),
    "traffic": ("features", "features=[...]"),
    "inputs": ("training", "training=Training(build)"),
}


def monitoring_refusals(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the monitoring of one deployment."""
    if found.label is None:
        return
    for number, test in enumerate(found.monitoring):
        yield from _detector(what, number, test, found.label)
        if test in found.monitoring[:number]:
            yield Sentence(f"{what}: the same detector is in monitoring twice", ("monitoring", number))
    if found.charts is not None:
        yield from _charts(what, found, found.charts)
    if found.retraining is not None:
        yield from _retraining(what, found, found.retraining)


def _detector(what: str, number: int, test: DriftDefinition, label: d.LabelDefinition) -> Iterator[Sentence]:
    known = FIGURES[label.kind]
    if test.figure not in known:
        problem = f"a detector of {KINDS[label.kind]} follows {' or '.join(known)}, {unknown(test.figure, known)}"
        yield Sentence(f"{what}: {problem}", ("monitoring", number, "figure"))
    if test.detector == "loss_change" and test.min_windows < _LEAST_WINDOWS:
        problem = f"LossChange(windows=...) must be at least {_LEAST_WINDOWS}, got {test.min_windows}"
        yield Sentence(f"{what}: {problem}", ("monitoring", number, "min_windows"), ("monitoring", number))
    if test.detector == "adwin" and (test.min_windows < _LEAST_ADWIN or not 0 < test.delta < 1):
        problem = f"Adwin(min_windows=...) must be at least {_LEAST_ADWIN} and its delta within 0..1"
        yield Sentence(f"{what}: {problem}, got {test.min_windows} and {test.delta:g}", ("monitoring", number))


def _charts(what: str, found: d.DeploymentDefinition, charts: ChartsDefinition) -> Iterator[Sentence]:
    place = ("monitoring", "Charts")
    if charts.windows < LEAST_REFERENCE:
        problem = f"Charts(windows=...) must be at least {LEAST_REFERENCE}, got {charts.windows}"
        yield Sentence(f"{what}: {problem}: fewer windows do not show what is usual", (*place, "windows"))
    known = sliceable(found)
    for name in charts.segments:
        if name not in known:
            problem = f"Charts(segments=...) need a Category, or a Key that binds a view alone, {unknown(name, known)}"
            yield Sentence(f"{what}: {problem if known else problem + 'none'}", (*place, "segments"))
    if len(set(charts.segments)) < len(charts.segments):
        yield Sentence(
            f"{what}: Charts(segments=...) names {', '.join(charts.segments)}: name each once", (*place, "segments")
        )
    if charts.season_s is not None and charts.season_s <= found.evaluation_window_s:
        problem = f"season {duration(charts.season_s)} is not longer than evaluation_window {duration(found.evaluation_window_s)}"
        yield Sentence(
            f"{what}: {problem}: every window is of the same phase, leave the season out", (*place, "season")
        )
    if charts.period_s / charts.pages < found.evaluation_window_s:
        problem = f"Charts(pages=...) allows {charts.pages:g} false pages per {duration(charts.period_s)}"
        yield Sentence(
            f"{what}: {problem}: more than one per window of {duration(found.evaluation_window_s)}", (*place, "pages")
        )


def _retraining(what: str, found: d.DeploymentDefinition, policy: RetrainingDefinition) -> Iterator[Sentence]:
    if found.training is None:
        yield Sentence(f"{what}: retraining needs training=Training(build)", ("retraining",))
    if not (policy.on or policy.every_s or policy.cron or policy.after_rows):
        others = "or every=..., cron=..., after_rows=..."
        problem = f"on=[] retrains on nothing; there are {', '.join(FINDINGS)}, {others}"
        yield Sentence(f"{what}: {problem}", ("retraining", "on"))
    yield from _schedule(what, policy)
    for number, kind in enumerate(policy.on):
        places = ("retraining", "on", number), ("retraining",)
        if kind not in FINDINGS:
            yield Sentence(f"{what}: retraining needs kinds of findings, {unknown(kind, FINDINGS)}", *places)
        elif not (getattr(found, _NEEDS[kind][0]) or (kind == "drift" and found.charts is not None)):
            yield Sentence(f"{what}: without {_NEEDS[kind][1]} there is no finding {kind!r} to retrain on", *places)


def _schedule(what: str, policy: RetrainingDefinition) -> Iterator[Sentence]:
    """A schedule that the cool-down would refuse is none."""
    if policy.every_s and policy.cron:
        yield Sentence(f"{what}: retraining has every= and cron=; one of them is enough", ("retraining", "cron"))
    way_out = f"name a longer time, or a shorter cooldown=... (now {policy.cooldown_s / _DAY_S:g} d)"
    if policy.every_s and policy.every_s < policy.cooldown_s:
        problem = f"retraining every {policy.every_s / _DAY_S:g} d is within its own cool-down: {way_out}"
        yield Sentence(f"{what}: {problem}", ("retraining", "every"))
    if (
        policy.cron
        and cron.why_not(policy.cron) is None
        and (gap_s := cron.least_gap_s(policy.cron)) < policy.cooldown_s
    ):
        problem = f"retraining's cron {policy.cron!r} comes {gap_s / _DAY_S:g} d after itself, within its own cool-down"
        yield Sentence(f"{what}: {problem}: {way_out}", ("retraining", "cron"))
