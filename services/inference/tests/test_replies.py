"""Replies: where they go, and that a request is decided once, however often it is asked and whoever takes over."""

from typing import Any

from headrace.log.codec import header

Bench = Any  # the fixture of conftest.py

REPLY = (("headrace_reply_partition", b"3"), ("headrace_reply_id", b"ask-1"))
FLIGHT = {"miles": 500.0, "carrier": "AA"}


async def test_a_reply_goes_to_the_named_partition_after_the_commit(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        (reply,) = await bench.read("inference.replies")
    assert reply.record.partition == 3
    assert header(reply.record.headers, "headrace_reply_id") == "ask-1"
    assert reply.event.request_id == "r1"
    assert reply.event.provisional is False


async def test_a_repeated_request_gets_the_stored_answer_and_no_second_decision(bench: Bench) -> None:
    async with bench.running():
        for _ in range(3):
            await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        replies = await bench.read("inference.replies", lambda found: len(found) >= 3)
        decisions = await bench.read("inference.decisions")
    assert len(decisions) == 1
    assert {reply.event.answer.score.value for reply in replies} == {0.26}


async def test_repeats_are_known_after_a_restart_too(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1")
        await bench.decisions()
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        await bench.read("inference.replies")
        decisions = await bench.read("inference.decisions")
    assert len(decisions) == 1


async def test_answers_given_just_before_a_takeover_are_sent_again_without_a_second_decision(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        await bench.read("inference.replies")
    async with bench.running():
        replies = await bench.read("inference.replies", lambda found: len(found) >= 2)
        decisions = await bench.read("inference.decisions")
    assert [reply.event.request_id for reply in replies] == ["r1", "r1"]
    assert len(decisions) == 1


async def test_requests_found_at_takeover_are_marked_recovered(bench: Bench) -> None:
    await bench.ask("delay", FLIGHT, "u1", id="before")
    async with bench.running():
        await bench.decisions()
        await bench.ask("delay", FLIGHT, "u1", id="after")
        decisions = await bench.decisions(2)
    assert {d.request_id: d.recovered for d in decisions} == {"before": True, "after": False}


async def test_a_fast_answer_is_provisional_and_the_decision_follows(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("fast", {"x": 1.0}, id="r1", headers=REPLY)
        (reply,) = await bench.read("inference.replies")
        (decision,) = await bench.decisions()
    assert reply.event.provisional is True
    assert reply.event.answer == decision.answer
