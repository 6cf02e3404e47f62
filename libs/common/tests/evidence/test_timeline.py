"""The timeline of a deployment: which records belong together, in any order, and in bounded memory."""

import pytest

from headrace.events.registry import (
    PauseRollout,
)
from headrace.events.training import RetrainRefused
from headrace.evidence.timeline import MOST_DEPLOYMENTS, Timeline
from headrace.testing.history import HOUR_S, History


def test_every_step_names_its_record_and_its_cause() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = history.episodes()
    by_place = {m.record.place: m.envelope.id for m in history.messages}
    assert all(by_place[step.place] == step.id for step in episode.steps)
    assert all(by_place[step.cause_place] == step.cause for step in episode.steps if step.cause)
    assert (episode.steps[0].cause, episode.steps[0].cause_place) == ("window-d-d-f2", "monitor.windows.v1/0/0")


def test_of_a_run_only_the_newest_progress_is_kept() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = history.episodes()
    assert [step.id for step in episode.steps if step.kind == "training.progressed"] == ["drun2-0.8"]


def test_deployments_are_told_apart_however_their_records_lie() -> None:
    one, two, both = History(), History(), History()
    one.drift_to_switch("a")
    two.drift_to_switch("b", 3)
    timeline, offsets = Timeline(), dict[str, int]()
    for message in sorted([*one.messages, *two.messages], key=lambda m: m.record.timestamp_ms):
        topic = message.record.topic
        offsets[topic] = offsets.get(topic, -1) + 1
        record = type(message.record)(topic, 0, offsets[topic], b"", b"", (), message.record.timestamp_ms)
        both.messages.append(type(message)(record, message.envelope, message.event))
    for message in both.messages:
        timeline.take(message)
    assert timeline.deployments == ["a", "b"]
    assert [e.versions for name in "ab" for e in timeline.episodes(name)] == [(1, 2), (1, 3)]
    assert [e.title for name in "ab" for e in timeline.episodes(name)] == ["drift → retrain → gates → switch"] * 2
    assert timeline.medians("a").mttd_event_s == 2 * HOUR_S


def test_a_record_that_is_read_again_changes_nothing() -> None:
    history = History()
    history.drift_to_switch()
    timeline = Timeline()
    assert [timeline.take(message) for message in history.messages].count("d") > 10
    before = timeline.episodes("d")
    assert {timeline.take(message) for message in history.messages} == {None}
    again = History()
    again.messages, again._ends = [], {topic: end + 5 for topic, end in history._ends.items()}
    for message in history.messages:
        again.add(message.event, message.envelope.id, message.envelope.causation_id or "")
    for message in again.messages:
        timeline.take(message)
    assert timeline.episodes("d") == before


@pytest.mark.parametrize("first", [False, True])
def test_the_topics_may_come_in_any_order(first: bool) -> None:
    history = History()
    history.drift_to_switch()
    topics = sorted({message.record.topic for message in history.messages}, reverse=first)
    shuffled = [message for topic in topics for message in history.messages if message.record.topic == topic]
    timeline = Timeline()
    for message in shuffled:
        timeline.take(message)
    (episode,) = timeline.episodes("d")
    assert (episode.title, episode.state, episode.how) == ("drift → retrain → gates → switch", "ended", "promoted")


def test_memory_is_bounded_and_the_newest_stay() -> None:
    history = History()
    for number in range(2, 42):
        history.drift_to_switch(version=number)
    timeline = Timeline(most_episodes=10, most_steps=100)
    for message in history.messages:
        timeline.take(message)
    assert timeline.step_count("d") <= 100
    assert [episode.versions[-1] for episode in timeline.episodes("d")][-3:] == [39, 40, 41]
    assert [episode.versions[-1] for episode in timeline.episodes("d", 1)] == [41]
    assert timeline.episode_with("d", "finding:d-f2") is None
    found = timeline.episode_with("d", "run:drun41")
    assert found is not None
    assert found.findings == ("d-f41",)


def test_a_long_story_keeps_its_beginning_and_its_newest_steps() -> None:
    history = History()
    history.finding()
    for number in range(60):
        history.request(f"q{number}")
        history.add(RetrainRefused("d", f"q{number}", "cool-down"), f"no{number}", f"q{number}")
    timeline = Timeline(most_steps=50)
    for message in history.messages:
        timeline.take(message)
    (episode,) = timeline.episodes("d")
    assert (len(episode.steps), episode.left_out, episode.state) == (50, 71, "running")
    assert (episode.steps[0].id, episode.steps[-1].id) == ("f1-opened", "no59")
    last = History()
    last._ends = dict(history._ends)
    last.resolved()
    timeline.take(last.messages[0])
    assert timeline.episodes("d")[0].state == "ended"


def test_names_that_anybody_wrote_do_not_push_deployments_out() -> None:
    history = History()
    history.drift_to_switch()
    for number in range(MOST_DEPLOYMENTS + 50):
        name = f"made-up-{number}"
        history.by_hand(PauseRollout(name, "no reason", "somebody"), name)
    timeline = Timeline()
    for message in history.messages:
        timeline.take(message)
    assert len(timeline.deployments) == MOST_DEPLOYMENTS
    assert [episode.how for episode in timeline.episodes("d")] == ["promoted"]
