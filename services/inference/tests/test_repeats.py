"""Repeats: a request is answered once, and its answer is remembered within bounds."""

from headrace_inference.core.repeats import WINDOW, Answered, Untold


def test_a_repeated_id_finds_its_first_answer() -> None:
    answered = Answered()
    answered.remember("d", "r1", b"first", 0)
    answered.remember("d", "r1", b"second", 1)
    assert answered.find("d", "r1") == b"first"
    assert answered.find("e", "r1") is None


def test_the_window_of_repeats_forgets_the_oldest() -> None:
    answered = Answered(limit=2)
    for name in ("a", "b", "c"):
        answered.remember("d", name, b"", 0)
    assert len(answered) == 2
    assert answered.find("d", "a") is None


def test_the_window_of_repeats_ends_after_an_hour_too() -> None:
    answered = Answered()
    for minute, name in ((0, "a"), (30, "b"), (61, "c")):
        answered.remember("d", name, b"", minute * 60_000)
    assert [answered.find("d", name) for name in ("a", "b", "c")] == [None, b"", b""]


def test_the_window_of_repeats_ends_at_its_bytes_too_and_keeps_the_newest_answer() -> None:
    answered = Answered(limit_bytes=10_000)
    for number in range(100):
        answered.remember("d", str(number), b"x" * 1_000, 0)
    assert len(answered) == 7
    assert answered.bytes <= 10_000
    answered.remember("d", "big", b"x" * 60_000, 0)
    assert (len(answered), answered.find("d", "big")) == (1, b"x" * 60_000)


def test_a_full_window_forgets_without_walking_over_what_it_forgot() -> None:
    answered = Answered()
    for number in range(2 * WINDOW):
        answered.remember("d", str(number), b"", number)
    assert len(answered) == WINDOW
    assert answered.find("d", str(WINDOW - 1)) is None
    assert answered.find("d", str(WINDOW)) == b""


def test_what_was_decided_last_is_told_again_by_the_next_owner() -> None:
    untold = Untold()
    for at_ms, offset in ((0, 3), (1_000, 5), (2_500, 4), (2_600, 6)):
        untold.on_decision(at_ms, offset)
    assert untold.first(next_offset=7) == 4
    assert Untold().first(next_offset=7) == 7
