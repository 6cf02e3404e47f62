"""Repeats: a request is answered once, and its answer is remembered within bounds."""

from headrace_inference.core.repeats import WINDOW, AnswerWindow
from headrace_inference.core.takeover import UnsentReplies


def test_a_repeated_id_finds_its_first_answer() -> None:
    answers = AnswerWindow()
    answers.remember("d", "r1", b"first", 0)
    answers.remember("d", "r1", b"second", 1)
    assert answers.find("d", "r1") == b"first"
    assert answers.find("e", "r1") is None


def test_the_window_of_repeats_forgets_the_oldest() -> None:
    answers = AnswerWindow(limit=2)
    for name in ("a", "b", "c"):
        answers.remember("d", name, b"", 0)
    assert len(answers) == 2
    assert answers.find("d", "a") is None


def test_the_window_of_repeats_ends_after_an_hour_too() -> None:
    answers = AnswerWindow()
    for minute, name in ((0, "a"), (30, "b"), (61, "c")):
        answers.remember("d", name, b"", minute * 60_000)
    assert [answers.find("d", name) for name in ("a", "b", "c")] == [None, b"", b""]


def test_the_window_of_repeats_ends_at_its_bytes_too_and_keeps_the_newest_answer() -> None:
    answers = AnswerWindow(limit_bytes=10_000)
    for number in range(100):
        answers.remember("d", str(number), b"x" * 1_000, 0)
    assert len(answers) == 7
    assert answers.bytes <= 10_000
    answers.remember("d", "big", b"x" * 60_000, 0)
    assert (len(answers), answers.find("d", "big")) == (1, b"x" * 60_000)


def test_a_full_window_forgets_without_walking_over_what_it_forgot() -> None:
    answers = AnswerWindow()
    for number in range(2 * WINDOW):
        answers.remember("d", str(number), b"", number)
    assert len(answers) == WINDOW
    assert answers.find("d", str(WINDOW - 1)) is None
    assert answers.find("d", str(WINDOW)) == b""


def test_replies_to_what_was_decided_last_are_sent_again_by_the_next_owner() -> None:
    unsent = UnsentReplies()
    for at_ms, offset in ((0, 3), (1_000, 5), (2_500, 4), (2_600, 6)):
        unsent.on_decision(at_ms, offset)
    assert unsent.first(next_offset=7) == 4
    assert UnsentReplies().first(next_offset=7) == 7
