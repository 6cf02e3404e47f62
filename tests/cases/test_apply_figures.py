"""The monitor computes every figure and opens every finding that `apply` accepts."""

import pytest

from headrace.events.charts import ChartPoint
from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingOpened, VersionQuality, WindowClosed
from headrace.project import Binary, Deployment, Multiclass, Number, PageHinkley, Project, Regression
from headrace.project.faults import applicable
from headrace.stats.charts import CHARTS
from headrace.stats.figures import FIGURES, sides_of
from headrace.stats.losses import BINARY, CLASSES, NUMBER
from headrace_monitor.core.findings import findings_of, on_champion, on_window

DAY_S = 86_400.0
LABELS = {
    BINARY: Binary("y", "1d"),
    CLASSES: Multiclass("y", ["a", "b", "c"], "1d"),
    NUMBER: Regression("y", 0, 90, "1d"),
}
TITLES = {"log_loss": "log-loss", "squared_error": "squared error"}
FIELDS = VersionQuality.__struct_fields__
ALL = [(kind, figure) for kind, figures in FIGURES.items() for figure in figures]


def deployment(kind: str, figure: str | None) -> DeploymentDefinition:
    declared = Deployment("d", "u", [Number("x")], label=LABELS[kind], monitoring=[PageHinkley(figure)])
    return applicable(Project("p", [declared])).deployments[0]


def window(day: int, figure: str, value: float) -> WindowClosed:
    """A window of a day in which only one figure of version 1 is known."""
    known = {"log_loss": None, "expected_log_loss": None, "auc": None, "mean_score": None}
    if figure in CHARTS:
        points = (ChartPoint(figure, 1, value, 0.01, 1000),)
    else:
        points = ()
        known |= {figure: value} if figure in FIELDS else {"metrics": {figure: value}}
    quality = VersionQuality(version=1, role="champion", rows=1000, **known)
    return WindowClosed("d", day * DAY_S, (day + 1) * DAY_S, 1000, 1000, None, "PASS", (quality,), charts=points)


@pytest.mark.parametrize(("kind", "figure"), ALL)
def test_a_figure_that_is_accepted_is_fed_and_named_in_the_finding(kind: str, figure: str) -> None:
    findings = on_champion(findings_of(deployment(kind, figure), None), 1).state
    facts = []
    for day in range(40):
        usual, worse = (0.8, 0.3) if sides_of(figure) == (-1,) else (0.3, 0.8)
        step = on_window(findings, window(day, figure, usual if day < 20 else worse), 1, day * DAY_S)
        findings = step.state
        facts += step.facts
    (opened,) = [found for found in facts if isinstance(found, FindingOpened)]
    assert opened.kind == "drift"
    moved = "fallen from 0.800 to 0.300" if sides_of(figure) == (-1,) else "risen from 0.300 to 0.800"
    assert opened.summary.startswith(f"{TITLES.get(figure, figure.replace('_', ' '))} of version 1 has {moved}")
    assert opened.at_s >= 20 * DAY_S


def test_every_kind_of_label_has_a_figure_that_is_followed_when_none_is_declared() -> None:
    followed = {kind: deployment(kind, None).monitoring[0].figure for kind in LABELS}
    assert followed == {BINARY: "log_loss", CLASSES: "log_loss", NUMBER: "squared_error"}
