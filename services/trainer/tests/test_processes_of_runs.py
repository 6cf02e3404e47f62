"""When a run's process is begun, ended and forgotten: decisions on values."""

import pytest

from headrace_trainer.core.attempts import LONGEST_PAUSE_S, Limits
from headrace_trainer.core.scheduling import BeginPauses, RunOnDisk, choose_begun, choose_removed
from headrace_trainer.core.supervision import Idleness, Stop, Usage, choose_exceeded, why_stop

LIMITS = Limits(1000, 60.0, 600.0)


@pytest.mark.parametrize(
    ("usage", "idle_s", "exceeded"),
    [
        (Usage(60.0, 0.0, 1000), 600.0, ""),
        (Usage(0.0, 0.0, 1001), 0.0, "memory"),
        (Usage(60.1, 0.0, 0), 0.0, "cpu"),
        (Usage(), 600.1, "idle"),
        (Usage(60.1, 0.0, 1001), 600.1, "memory"),
    ],
)
def test_a_limit_is_exceeded_beyond_it_and_memory_comes_first(usage: Usage, idle_s: float, exceeded: str) -> None:
    assert choose_exceeded(usage, idle_s, LIMITS) == exceeded


def test_who_computes_a_little_or_writes_something_is_not_idle() -> None:
    found = Idleness()
    assert found.look(1, Usage(), 10.0) == 0.0
    assert found.look(1, Usage(0.19), 10.0) == 10.0
    assert found.look(1, Usage(0.42), 10.0) == 0.0
    assert found.look(1, Usage(0.42, 4.0), 10.0) == 6.0
    assert found.look(2, Usage(0.42, 4.0), 10.0) == 0.0


def test_a_process_of_which_parts_have_ended_is_not_taken_for_one_that_computes() -> None:
    found = Idleness(1, Usage(50.0, 5.0))
    assert found.look(1, Usage(3.0, 1.0), 10.0) == 10.0


def test_a_run_stops_for_a_person_for_now_or_because_nobody_looks_after_it() -> None:
    assert why_stop(True, None, 600.0, 600.0) is None
    assert why_stop(True, None, 600.1, 600.0) == Stop("no trainer has looked after it for 600 s")
    assert why_stop(True, "ada", 700.0, 600.0) == Stop("it was stopped by ada", "ada")
    assert why_stop(True, "", 0.0, 600.0) == Stop("it was asked to stop")
    assert why_stop(False, "ada", 0.0, 600.0) == Stop("its folder is gone")


def test_no_more_runs_are_begun_than_there_is_room_beside_those_that_are_done_already() -> None:
    assert choose_begun([("a", True), ("b", True), ("c", False)], 2) == []
    assert choose_begun([("a", False), ("b", True), ("c", False)], 2) == ["a"]
    assert choose_begun([], 2) == []


def test_a_run_is_begun_later_each_time_and_at_once_when_it_was_forgotten() -> None:
    pauses, now_s, found = BeginPauses(), 0.0, []
    for _ in range(8):
        assert pauses.is_due("a", now_s)
        found.append(pauses.note_begun("a", now_s))
        assert not pauses.is_due("a", now_s + found[-1] - 0.1)
        now_s += found[-1]
    assert found == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    pauses.note_begun("a", now_s)
    pauses.forget("a")
    assert pauses.is_due("a", now_s)
    assert pauses.note_begun("a", now_s) == 1.0


def test_the_oldest_finished_runs_are_removed_beyond_a_number_or_a_size_and_no_other() -> None:
    folders = [
        RunOnDisk("wanted", 30, True, False),
        RunOnDisk("stranger", 30, False, True),
        RunOnDisk("new", 30, False, False),
        RunOnDisk("old", 30, False, False),
        RunOnDisk("oldest", 5, False, False),
    ]
    assert choose_removed(folders, 9, 1000) == ([], 125)
    assert choose_removed(folders, 1, 1000) == (["old", "oldest"], 90)
    assert choose_removed(folders, 9, 100) == (["old"], 95)
    assert choose_removed(folders, 0, 0) == (["new", "old", "oldest"], 60)
