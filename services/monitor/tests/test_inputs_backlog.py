"""What the inputs show depends on the clock of the data: a backlog gives what reading it live gives."""

import numpy as np
import pytest
from services.monitor.tests.inputs_scene import DAY, HOUR, Inputs, decisions, refused

from headrace.events.inference import DecisionMade
from headrace_monitor.core.input_watch import LIVE_S, SETTLES_S, WALL_S


def nulls(matrix: np.ndarray) -> None:
    matrix[:, 3] = np.nan


def faulty() -> list[list[DecisionMade]]:
    """Three days, hour by hour: two faults that end, the second one twice."""
    hours = []
    for hour in range(72):
        from_s, to_s = hour * HOUR, (hour + 1) * HOUR
        if hour in (26, 27, 40, 41):
            hours.append(decisions(from_s, to_s, nulls))
        else:
            hours.append(refused(from_s, to_s, 0.6) if 30 <= hour < 36 else decisions(from_s, to_s))
    return hours


def history(inputs: Inputs) -> tuple[list, list]:
    return inputs.opened, inputs.ended


@pytest.mark.parametrize("hours_at_once", [5, 24])
def test_findings_are_the_same_record_for_record_however_much_is_read_between_two_looks(hours_at_once: int) -> None:
    """A finding that opens and ends within one look is both, and one that opens again another."""
    live, backlog = Inputs(), Inputs()
    for hour, made in enumerate(faulty()):
        live.take(made)
        live.look((hour + 1) * HOUR)
        backlog.take(made)
        if (hour + 1) % hours_at_once == 0:
            backlog.look((hour + 1) * HOUR)
    backlog.look(3 * DAY)
    assert history(backlog) == history(live)
    assert [found.about for found in live.opened] == ["inputs.carrier.mean", "inputs.miles", "inputs.carrier.mean"]
    assert len({found.finding for found in live.opened}) == len(live.ended) == 3


def test_a_backlog_is_judged_by_its_clock_alone_though_it_takes_minutes_to_read() -> None:
    """The same rows, appended now, are found after a minute."""
    for is_live in (False, True):
        inputs = Inputs()
        for n, one in enumerate(decisions(0.0, HOUR / 2, nulls)):
            inputs.watch.add(one, 0.0, 0, n, is_live=is_live)
        assert not inputs.watch.is_due(HOUR / 12, 0.0)
        assert inputs.watch.is_due(HOUR / 12, WALL_S) == is_live
        inputs.look(HOUR / 2, 2 * WALL_S)
        assert len(inputs.opened) == is_live
    assert LIVE_S > WALL_S


def test_the_end_of_a_backlog_is_judged_as_soon_as_its_partitions_are_quiet() -> None:
    """While records were read, others held the clock back; nothing newer has to come."""
    inputs = Inputs()
    inputs.take(decisions(0.0, 2 * HOUR, nulls))
    assert inputs.watch.is_due(2 * HOUR, 0.0)
    inputs.watch.look(HOUR / 2, 2 * HOUR, 0.0, {})
    assert [inputs.watch.is_due(2 * HOUR - 1, now_s) for now_s in (0.5, SETTLES_S)] == [True, True]
    inputs.look(2 * HOUR - 1)
    assert inputs.found() == [("contract", "inputs.carrier.mean", "null")]
    assert not inputs.watch.is_due(2 * HOUR - 1, 1.0)
    assert not inputs.watch.is_due(2 * HOUR - 1, SETTLES_S + 1)
