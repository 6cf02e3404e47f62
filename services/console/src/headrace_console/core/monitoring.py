"""How a deployment is monitored, as a document: see `documents.monitoring`."""

from headrace.evidence.steps import words
from headrace_console.core import series
from headrace_console.core.documents import Monitoring
from headrace_console.core.monitored import Held
from headrace_console.core.world import World

# So many charts are sent to a page; the others are counted.
CHARTS_SHOWN = 12
# The order of charts; those of segments come after all of these.
_ORDER = ("base_rate", "ranking", "calibration", "slope", "level")


def document(world: World, name: str) -> Monitoring | None:
    """The document `monitoring/NAME`; None where nothing is known of the deployment."""
    definition, held = world.definition(name), world.monitored.of(name) or Held()
    if definition is None and not held.windows and held.ledger is None and held.backtest is None:
        return None
    points = held.points()
    charts = sorted({key for point in points.values() for key in point.charts}, key=_place)
    detectors = [] if definition is None else definition.monitoring
    charted = [] if definition is None or definition.charts is None else ["charts"]
    return Monitoring(
        tuple(charts[:CHARTS_SHOWN]),
        tuple(dict.fromkeys(metric for point in points.values() for metric in point.estimates)),
        {f"{to_s:.0f}": point for to_s, point in points.items()},
        {row.column: row for row in held.columns},
        held.columns_to_s,
        held.ledger,
        held.efficacy,
        held.audit,
        series.marks_of(world, name),
        (*charted, *(f"{words(one.detector)} of {words(one.figure)}" for one in detectors)),
        max(len(charts) - CHARTS_SHOWN, 0),
        held.backtest,
        0.0 if definition is None else definition.audit_share,
        () if definition is None or definition.label is None else definition.label.classes,
    )


def _place(key: str) -> tuple[bool, int, str]:
    chart, _, segment = key.partition("@")
    name = chart.partition(".")[0]
    return bool(segment), _ORDER.index(name) if name in _ORDER else len(_ORDER), key
