"""Whatever ends a run's processes, it comes to an end itself."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_trainer.core.attempts import (
    LONGEST_PAUSE_S,
    MOST_CRASHED,
    MOST_KILLED,
    Again,
    Ended,
    Failed,
    Limits,
    decide_next,
)

LIMITS = Limits(2**30, 60.0, 600.0)
ends = st.builds(Ended, st.integers(-64, 255), st.sampled_from(["", "", "", "memory", "cpu", "idle"]))


@given(st.lists(ends, min_size=MOST_KILLED + 2 * MOST_CRASHED, max_size=30))
def test_no_history_of_ends_goes_on_for_ever(history: list[Ended]) -> None:
    before: list[str] = []
    for ended in history:
        decided = decide_next(ended, LIMITS, before)
        if isinstance(decided, Failed):
            return
        assert 0 < decided.after_s <= LONGEST_PAUSE_S
        before.append(decided.how)
    raise AssertionError(before)


@pytest.mark.parametrize("code", [0, 1, 137])
def test_who_leaves_by_itself_is_not_begun_again(code: int) -> None:
    assert isinstance(decide_next(Ended(code), LIMITS, []), Failed)


def test_a_killed_process_is_begun_again_later_each_time() -> None:
    pauses = [decide_next(Ended(-signal.SIGKILL), LIMITS, ["killed"] * n) for n in range(MOST_KILLED - 1)]
    assert [found.after_s for found in pauses if isinstance(found, Again)] == [1.0, 2.0, 4.0, 8.0]


def test_the_kernels_memory_killer_is_not_the_users_limit() -> None:
    killed, over = (
        decide_next(Ended(-signal.SIGKILL), LIMITS, []),
        decide_next(Ended(-signal.SIGKILL, "memory"), LIMITS, []),
    )
    assert isinstance(killed, Again)
    assert isinstance(over, Failed)
