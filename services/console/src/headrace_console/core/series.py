"""The charts of a deployment: windows by their end (event time), traffic by its beginning (wall clock), marks, limits."""

from collections.abc import Mapping

from headrace.events.definition import DeploymentDefinition
from headrace_console.core import windows
from headrace_console.core.documents import Series, SeriesMark, Threshold, TrafficPoint
from headrace_console.core.links import finding_link
from headrace_console.core.world import World


def document(world: World, name: str, traffic: Mapping[int, TrafficPoint]) -> Series | None:
    """The document `series/NAME`. `traffic`: kept points by the second at which they begin; None where nothing is known."""
    seen, definition = world.windows.of(name), world.definition(name)
    if seen is None and definition is None and not traffic:
        return None
    points = windows.points_of(seen) if seen is not None else []
    return Series(
        windows.metrics_of(points),
        {f"{point.to_s:.0f}": point for point in points},
        {str(at_s): point for at_s, point in sorted(traffic.items())},
        marks_of(world, name),
        thresholds_of(definition),
    )


def marks_of(world: World, name: str) -> dict[str, SeriesMark]:
    """Switches, rollouts, retrains and findings by the place of their record."""
    found = dict([*world.releases.story(name).marks, *world.trainings.marks(name)])
    for one in world.findings.of(name).values():
        link = finding_link(name, one.opened.finding)
        text = f"{one.opened.kind.replace('_', ' ')}: {one.opened.summary}"
        found[one.place] = SeriesMark(one.opened.at_s, "event", "finding", text, link, one.appended_s)
        if one.resolved is not None:
            found[f"{one.place} resolved"] = SeriesMark(
                one.resolved.at_s, "event", "resolved", one.resolved.reason, link
            )
    return found


def thresholds_of(definition: DeploymentDefinition | None) -> tuple[Threshold, ...]:
    """The limits that are drawn: of the drift detectors, and of missing features."""
    if definition is None:
        return ()
    found = [
        Threshold(
            "statistic", drift.threshold, f"{drift.detector.replace('_', ' ')} of {drift.figure}: a finding opens"
        )
        for drift in definition.monitoring
    ]
    if definition.degrade_when is not None:
        text = "above it a request falls back to a step that needs no features"
        found.append(Threshold("missing_share", definition.degrade_when, text))
    return tuple(found)
