"""Inputs within the whole monitor: what a look publishes, what is remembered of it, and what a silent source has to do with it."""

import numpy as np
from services.monitor.tests.inputs_scene import DAY, HOUR, REFERENCE, decisions, registered
from services.monitor.tests.test_monitoring_by_hand import World

from headrace.events.inference import DecisionMade
from headrace.events.monitor import FindingOpened, FindingResolved, MonitorState
from headrace.events.registry import ModelVersion

KEY = "contract:inputs.carrier.mean"


def nulls(matrix: np.ndarray) -> None:
    matrix[:, 3] = np.nan


def take(world: World, found: list[DecisionMade]) -> None:
    for n, one in enumerate(found):
        world.take(one, offset=100 + n)


def begun(*history: object) -> World:
    return World(ModelVersion(registered(found=REFERENCE), "registered"), *history)


def test_a_look_publishes_findings_and_what_a_restart_must_know() -> None:
    world = begun()
    take(world, decisions(0.0, HOUR, nulls))
    assert world.core.due(0.0) == ["d"]
    opened, memory = world.core.look_at_inputs("d", HOUR, 0.0)
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.about, opened.severity) == ("contract", "inputs.carrier.mean", "warning")
    assert isinstance(memory, MonitorState)
    assert (memory.inputs_to_s, memory.open_findings) == (HOUR, (opened,))
    again = begun(memory)
    take(again, decisions(0.0, HOUR, nulls))
    assert again.core.look_at_inputs("d", HOUR, 0.0) == ()
    take(again, decisions(HOUR, 9 * HOUR))
    resolved, _ = again.core.look_at_inputs("d", 9 * HOUR, 0.0)
    assert isinstance(resolved, FindingResolved)
    assert (resolved.finding, resolved.about) == (opened.finding, "inputs.carrier.mean")


def test_a_window_that_closes_shows_its_columns() -> None:
    world = begun()
    take(world, decisions(0.0, HOUR))
    inputs = world.core.window_inputs(world.watched, world.watched.windows.rows_of(0.0, DAY), ())
    assert [column.column for column in inputs.seen] == ["carrier", "miles", "hour", "carrier.mean", "score"]
    carrier, _, hour, *_ = inputs.seen
    assert (carrier.distinct, carrier.usual_distinct, hour.distinct) == (3, None, 18)


def test_what_a_silent_source_explains_is_no_finding_of_its_own() -> None:
    world = begun()
    silent = FindingOpened("f", "d", "traffic", "it has stopped", 0.0, about="landings", detector="silence")
    world.watched.findings = type(world.watched.findings)(
        world.watched.deployment, (), world.watched.findings.requests, open={"traffic:landings": silent}
    )
    take(world, decisions(0.0, HOUR, nulls))
    assert world.core.look_at_inputs("d", HOUR, 0.0) == ()


def test_an_error_in_a_look_is_of_that_deployment_alone() -> None:
    world = begun()
    take(world, decisions(0.0, HOUR))
    world.watched.inputs.live.intervals[0.0].profiles[1] = object()
    (failed,) = world.core.look_at_inputs("d", HOUR, 0.0)
    assert failed.deployment == "d"
