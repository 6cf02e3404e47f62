"""What the owner of a shard takes over from the one before."""

from headrace.events.inference import DecisionMade, Expired, Score, ShadowScored
from headrace_inference.core.repeats import AnswerWindow
from headrace_inference.core.takeover import Takeover


def decision(number: int, *shadows_due: int) -> DecisionMade:
    return DecisionMade(f"r{number}", "d", "u", 0.0, Expired(1), request_offset=number, shadows_due=shadows_due)


def scored(number: int, version: int) -> ShadowScored:
    return ShadowScored(f"r{number}", "d", "u", version, 0.0, Score(version, "", 0.5))


def test_a_score_of_a_shadow_is_owed_until_it_was_written() -> None:
    takeover = Takeover(AnswerWindow())
    takeover.on_decision(decision(0, 1, 2), b"a", 0, (("ce_time", b"x"),))
    takeover.on_decision(decision(1, 1), b"b", 0, ())
    takeover.on_decision(decision(2), b"c", 0, ())
    takeover.on_shadow_scored(scored(0, 2))
    takeover.on_shadow_scored(scored(1, 1))
    takeover.on_shadow_scored(scored(7, 1))
    (owed,) = takeover.take_owed()
    assert (owed.decision.request_id, owed.versions, owed.causes) == ("r0", {1}, (("ce_time", b"x"),))
    assert takeover.take_owed() == []


def test_what_was_answered_is_known_and_the_last_replies_are_sent_again() -> None:
    takeover = Takeover(AnswerWindow())
    takeover.on_decision(decision(4), b"a", 1_000, ())
    takeover.on_decision(decision(5), b"b", 9_000, ())
    assert takeover.answers.find("d", "r4") == b"a"
    assert takeover.first_offset(6) == 5
