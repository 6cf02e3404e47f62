"""Which questions wait, and which partition an asker reads."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.asking.pending import Pending
from headrace.asking.reply_partition import reply_partition


def test_a_question_expires_once_and_a_late_answer_does_not_count() -> None:
    pending = Pending()
    pending.open("a", 1.0)
    pending.open("b", 2.0)
    assert pending.expire(1.5) == ["a"]
    assert pending.expire(1.5) == []
    assert not pending.close("a")
    assert pending.close("b")
    assert len(pending) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 10)), max_size=30), st.floats(0, 10))
def test_exactly_the_overdue_questions_expire(asks: list[tuple[int, float]], now_s: float) -> None:
    pending, deadlines = Pending(), {}
    for name, deadline_s in asks:
        if str(name) not in deadlines:
            pending.open(str(name), deadline_s)
            deadlines[str(name)] = deadline_s
    assert set(pending.expire(now_s)) == {name for name, deadline_s in deadlines.items() if deadline_s <= now_s}


def test_an_instance_always_reads_the_same_partition() -> None:
    assert [reply_partition(f"gateway-{n}", 8) for n in range(6)] == [3, 1, 7, 2, 2, 1]
