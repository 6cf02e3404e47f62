"""How runs end and are begun again, when they are stopped, which are begun and forgotten: on values, each reason whole."""

import signal

import numpy as np
import pytest

from headrace.events.definition import TrainingDefinition
from headrace_trainer.core.attempts import Again, Ended, Failed, Limits, decide_again, decide_next
from headrace_trainer.core.scheduling import BeginPauses, RunOnDisk, choose_begun, choose_removed
from headrace_trainer.core.splits import Span, masks, span_of, wanted_after, why_not
from headrace_trainer.core.supervision import LOOK_S, Idleness, Stop, Usage, choose_exceeded, why_stop

LIMITS = Limits(2**31, 3_600.0, 1_800.0)
DAY = 86_400.0


@pytest.mark.parametrize(
    ("ended", "wanted"),
    [
        (Ended(0, "memory"), Failed("it took more than 2,048 MiB of memory (HEADRACE_TRAINING_MEMORY_BYTES): a shorter history, a smaller model, or a higher limit")),
        (Ended(-9, "cpu"), Failed("it used more than 3,600 s of CPU (HEADRACE_TRAINING_CPU_S): a smaller model, or a higher limit")),
        (Ended(-signal.SIGXCPU), Failed("it used more than 3,600 s of CPU (HEADRACE_TRAINING_CPU_S): a smaller model, or a higher limit")),
        (Ended(0), Failed("its process left with code 0 before it was done: does build() or the estimator call os._exit?")),
        (Ended(7), Failed("its process left with code 7 before it was done: does build() or the estimator call os._exit?")),
        (Ended(-9, "idle"), Again("idle", "it neither computed nor read anything for 1,800 s though it had a core", 1.0)),
        (Ended(0, "idle"), Again("idle", "it neither computed nor read anything for 1,800 s though it had a core", 1.0)),
        (Ended(-signal.SIGSEGV), Again("crashed", "its process died of SIGSEGV, a fault in native code", 1.0)),
        (Ended(-9), Again("killed", "its process was killed by SIGKILL (the machine ran out of memory, or somebody did it)", 1.0)),
        (Ended(-200), Again("killed", "its process was killed by signal 200 (the machine ran out of memory, or somebody did it)", 1.0)),
    ],
)  # fmt: skip
def test_what_follows_each_end_and_what_is_said_of_it(ended: Ended, wanted: Again | Failed) -> None:
    assert decide_next(ended, LIMITS, []) == wanted


@pytest.mark.parametrize(("how", "before", "wanted"), [
    ("killed", ["killed", "crashed", "killed"], Again("killed", "r", 4.0)), ("killed", ["killed"] * 4, Failed("r, 5 times")),
    ("crashed", ["killed"] * 4, Again("crashed", "r", 1.0)), ("crashed", ["crashed"], Failed("r, 2 times")), ("idle", ["idle"], Failed("r, 2 times")),
])  # fmt: skip
def test_attempts_are_counted_by_how_they_ended(how: str, before: list[str], wanted: Again | Failed) -> None:
    assert decide_again(how, "r", before) == wanted


def test_a_limit_is_exceeded_beyond_it_and_memory_counts_first() -> None:
    at, beyond = Usage(3_600.0, 0.0, 2**31), Usage(3_600.1, 0.0, 2**31 + 1)
    assert choose_exceeded(at, 1_800.0, LIMITS) == ""
    assert choose_exceeded(at, 1_800.1, LIMITS) == "idle"
    assert choose_exceeded(Usage(3_600.1), 1_800.1, LIMITS) == "cpu"
    assert choose_exceeded(beyond, 1_800.1, LIMITS) == "memory"


def test_a_run_stops_for_one_reason() -> None:
    assert why_stop(True, None, 60.0, 60.0) is None
    assert why_stop(True, None, 60.1, 60.0) == Stop("no trainer has looked after it for 60 s")
    assert why_stop(True, "", 61.0, 60.0) == Stop("it was asked to stop", "")
    assert why_stop(True, "ann", 61.0, 60.0) == Stop("it was stopped by ann", "ann")
    assert why_stop(False, "ann", 61.0, 60.0) == Stop("its folder is gone")


def test_who_computes_writes_or_waits_for_a_core_is_not_idle() -> None:
    found = Idleness()
    assert found.look(0, Usage(), 10.0) == 10.0
    assert found.look(0, Usage(0.0, 4.0), 10.0) == 16.0
    assert found.look(0, Usage(0.2, 4.0), 10.0) == 26.0
    assert found.look(0, Usage(0.41, 4.0), 10.0) == 0.0
    assert found.look(0, Usage(0.41, 20.0), 10.0) == 0.0
    assert found.look(0, Usage(0.41, 20.0), 3.0) == 3.0
    assert found.look(1, Usage(0.41, 20.0), 3.0) == 0.0
    assert found.look(1, Usage(0.1, 1.0), 3.0) == 3.0
    assert found.look(1, Usage(0.1 + 0.021 * LOOK_S, 1.0), 0.0) == 0.0


def test_of_a_look_at_once_a_little_computing_is_enough_and_less_is_not() -> None:
    found = Idleness(idle_s=5.0)
    assert found.look(0, Usage(0.019 * LOOK_S), 0.1) == 5.1
    assert found.look(0, Usage(0.05), 0.1) == 0.0


def test_runs_are_begun_in_their_order_while_there_is_room() -> None:
    assert choose_begun([("a", False), ("b", False), ("c", False)], 2) == ["a", "b"]
    assert choose_begun([("a", True), ("b", True), ("c", False)], 2) == []
    assert choose_begun([("a", False), ("b", True), ("c", True)], 2) == ["a"]
    assert choose_begun([("a", False)], 0) == []


def test_a_run_that_was_begun_waits_twice_as_long_each_time() -> None:
    pauses = BeginPauses()
    assert pauses.is_due("a", -1.0) is False
    assert pauses.is_due("a", 0.0)
    assert [pauses.note_begun("a", 10.0) for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert [pauses.is_due("a", at_s) for at_s in (69.9, 70.0)] == [False, True]
    assert pauses.is_due("b", 10.0)
    pauses.forget("a")
    pauses.forget("never")
    assert (pauses.is_due("a", 10.0), pauses.note_begun("a", 10.0)) == (True, 1.0)


def test_of_what_nobody_wants_the_newest_folders_stay_within_their_bytes() -> None:
    def folders(*sizes: int, wanted: int = -1, supervised: int = -1) -> list[RunOnDisk]:
        return [RunOnDisk(f"r{n}", size, n == wanted, n == supervised) for n, size in enumerate(sizes)]

    assert choose_removed(folders(1, 1, 1), 2, 100) == (["r2"], 2)
    assert choose_removed(folders(1, 1, 1, wanted=0), 2, 100) == ([], 3)
    assert choose_removed(folders(1, 1, 1, 1, supervised=0), 2, 100) == (["r3"], 3)
    assert choose_removed(folders(5, 5, 1), 9, 10) == (["r2"], 10)
    assert choose_removed(folders(5, 6, 1), 9, 10) == (["r1"], 6)
    assert choose_removed(folders(50, 1, wanted=0), 9, 10) == (["r1"], 50)


# splits

TRAINING = TrainingDefinition("m:f", 30 * DAY, 7 * DAY, DAY, DAY, 100)
AT_S = np.arange(300) * DAY / 10


def test_a_span_by_hand() -> None:
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY) == Span(0.0, 22 * DAY, 23 * DAY, 30 * DAY)
    assert span_of(TRAINING, AT_S[:0], 0.0, 30 * DAY) == Span(0.0, 22 * DAY, 23 * DAY, 30 * DAY)
    short = span_of(TRAINING, AT_S, 0.0, 12 * DAY)
    assert (short.holdout_s, short.fit_to_s) == (pytest.approx(8.5 * DAY), pytest.approx(8 * DAY))
    late = span_of(TRAINING, AT_S[180:], 0.0, 30 * DAY)
    assert (late.holdout_s, late.fit_to_s) == (pytest.approx(26.5 * DAY), pytest.approx(26 * DAY))
    without = TrainingDefinition("m:f", 30 * DAY, 0.0, 0.0, DAY, 100)
    assert span_of(without, AT_S, 0.0, 30 * DAY) == Span(0.0, 30 * DAY, 30 * DAY, 30 * DAY)


def test_a_span_after_a_change_by_hand() -> None:
    found = span_of(TRAINING, AT_S, 0.0, 30 * DAY, 24 * DAY, None, 20 * DAY)
    assert (found.holdout_s, found.changed_at_s, found.begun_s) == (28 * DAY, 24 * DAY, 20 * DAY)
    assert found.fit_to_s == pytest.approx(28 * DAY - 0.4 * DAY)
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, 31 * DAY).holdout_s == 23 * DAY
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, 2 * DAY).fit_to_s == 22 * DAY
    at_change = span_of(TRAINING, AT_S, 0.0, 30 * DAY, 20 * DAY)
    assert (at_change.holdout_s, at_change.fit_to_s) == (
        pytest.approx(AT_S[266]),
        pytest.approx(AT_S[266] - 0.1 * (AT_S[266] - 20 * DAY)),
    )


def test_a_holdout_that_is_fair_needs_thirty_rows() -> None:
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, None, 27 * DAY).holdout_s == 27 * DAY
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, None, 27.1 * DAY).holdout_s == 23 * DAY
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, None, 22 * DAY).holdout_s == 23 * DAY
    assert span_of(TRAINING, AT_S, 0.0, 30 * DAY, None, 27 * DAY).fit_to_s == 26 * DAY


def test_the_ends_of_a_span() -> None:
    fits, gates = masks(Span(1.0, 3.0, 4.0, 6.0), np.arange(8.0))
    assert (np.flatnonzero(fits).tolist(), np.flatnonzero(gates).tolist()) == ([1, 2], [4, 5])


def test_too_few_rows_of_each_sort() -> None:
    span = span_of(TRAINING, AT_S, 0.0, 30 * DAY)
    labels = np.arange(300) % 2.0
    assert why_not(TRAINING, span, labels, AT_S) == ("", 0)
    few = TrainingDefinition("m:f", 30 * DAY, 7 * DAY, DAY, DAY, 221)
    left = "holdout=7d (here 7 d) leaves 220 labelled rows to fit on"
    assert why_not(few, span, labels, AT_S) == (f"{left}, at least min_rows=221 are wanted", 1)
    narrow = Span(0.0, 22 * DAY, 28 * DAY, 30 * DAY)
    gating = "holdout=7d (here 2 d) leaves 220 labelled rows to fit on and 20 to gate on, at least 30 are wanted: a longer holdout holds more"
    assert why_not(TRAINING, narrow, labels, AT_S) == (gating, 10)
    assert why_not(TRAINING, Span(0.0, 22 * DAY, 27 * DAY, 30 * DAY), labels, AT_S) == ("", 0)
    assert why_not(TRAINING, span, np.zeros(300), AT_S) == ("all rows to fit on have the same label", 0)
    own = TrainingDefinition("m:f", DAY, DAY, 0.0, DAY, 1, min_rows_after_change=7)
    assert [wanted_after(own, 10**6), wanted_after(TRAINING, 10**6), wanted_after(TRAINING, 9_999)] == [7, 1000, 1000]
