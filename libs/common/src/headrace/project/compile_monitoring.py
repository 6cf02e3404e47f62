"""Compiles what watches a deployment: detectors to their figures, and charts with their budget of pages."""

import re

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.charts import ChartsDefinition
from headrace.events.policies import DriftDefinition
from headrace.project.deployments import Deployment
from headrace.project.fields import LabelKind, Multiclass, Regression
from headrace.project.labels import BINARY, CLASSES, NUMBER
from headrace.project.monitoring import Adwin, Charts, LossChange, PageHinkley
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence
from headrace.stats.figures import loss_of

_DAY_S = 86_400.0
# What a budget is stated per. A month has 30 days, as wherever pages are counted.
PERIODS = {"day": _DAY_S, "week": 7 * _DAY_S, "month": 30 * _DAY_S, "quarter": 91 * _DAY_S, "year": 365 * _DAY_S}
_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+([a-z]+)\s*")


def compile_detectors(found: Deployment) -> tuple[DriftDefinition, ...]:
    """The single detectors of a deployment, in their order."""
    loss, window_s = loss_of(_kind_of(found.label)), seconds(found.evaluation_window)
    return tuple(_detector(test, loss, window_s) for test in found.monitoring if not isinstance(test, Charts))


def _detector(test: PageHinkley | Adwin | LossChange, loss: str, window_s: float) -> DriftDefinition:
    if isinstance(test, LossChange):
        return DriftDefinition("loss_change", loss, window_s, test.rise, test.limit, test.windows)
    figure = loss if test.figure is None else test.figure
    if isinstance(test, Adwin):
        return DriftDefinition("adwin", figure, window_s, test.delta, 1.0, test.min_windows)
    return DriftDefinition("page_hinkley", figure, window_s, test.delta, test.threshold, test.min_windows)


def compile_charts(found: Deployment) -> ChartsDefinition | None:
    """The charts of a deployment, None without any. Raises `Misconfigured` for two of them and for a budget that is none."""
    charts = [test for test in found.monitoring if isinstance(test, Charts)]
    what = named("deployment", found.name)
    if len(charts) > 1:
        problem = f"{what}: Charts() is in monitoring twice; one holds all charts, with one budget"
        raise Misconfigured(Sentence(problem, ("monitoring", "Charts")))
    if not charts:
        return None
    pages, period_s = budget_of(what, charts[0].pages)
    season = charts[0].season
    return ChartsDefinition(
        pages, period_s, tuple(charts[0].segments), None if season is None else seconds(season), charts[0].windows
    )


def budget_of(what: str, text: str) -> tuple[float, float]:
    """Pages and the period in seconds of a budget. `what`: whose it is. Raises `Misconfigured`.

    >>> budget_of("d", "1 per month")
    (1.0, 2592000.0)
    """
    parts = _BUDGET.fullmatch(text) if isinstance(text, str) else None
    if parts is None or parts[2] not in PERIODS or float(parts[1]) <= 0:
        problem = f"'1 per month': a number above 0 per {', '.join(PERIODS)}, got {text!r:.80}"
        place = ("monitoring", "Charts", "pages")
        raise Misconfigured(Sentence(f"{what}: Charts(pages=...) is written like {problem}", place))
    return float(parts[1]), PERIODS[parts[2]]


def _kind_of(label: LabelKind | None) -> str:
    match label:
        case Multiclass():
            return CLASSES
        case Regression():
            return NUMBER
        case _:
            return BINARY
