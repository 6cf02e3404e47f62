"""What is read for the first time is handed on in the order in which it was appended."""

from headrace.evidence.timeline import Timeline
from headrace.log.codec import Message
from headrace.testing.history import History
from headrace_console.core.backlog import SLICE, Backlog


def story() -> History:
    """A drift that a retrain mends: the finding ends after the switch."""
    history = History()
    request = history.request("request-1", "f1") if history.finding("f1") else ""
    history.run("run-1", request)
    ident = history.registered(2, "run-1", request)
    rollout = history.rollout(2, ident)
    history.switched(rollout, 2, ident)
    history.alert("ModelDrift", "firing")
    history.resolved("f1")
    return history


def titles(messages: list[Message]) -> list[str]:
    timeline = Timeline()
    for message in messages:
        timeline.take(message)
    return [episode.title for episode in timeline.episodes("d")]


def topic_by_topic(history: History) -> list[Message]:
    """The messages as they come when one topic is read after the other, the registry's last."""
    return sorted(history.messages, key=lambda m: (m.record.topic.startswith("registry"), m.record.topic))


def test_a_history_read_topic_by_topic_is_the_history_as_it_was_lived() -> None:
    history, taken = story(), []
    backlog = Backlog(("control", "measurements"), taken.append)
    for message in topic_by_topic(history):
        backlog.put(message)
    assert list(backlog.is_read("control")) == []
    assert taken == []
    assert sum(backlog.is_read("measurements")) == len(history.messages)
    assert [message.record.timestamp_ms for message in taken] == [
        message.record.timestamp_ms for message in history.messages
    ]
    assert titles(taken) == titles(history.messages)
    assert titles(taken) != titles(topic_by_topic(history)), "the order matters, else nothing is tested here"


def test_what_comes_while_the_backlog_is_handed_on_comes_after_it() -> None:
    history, taken = story(), []
    message = history.messages[0]
    backlog = Backlog(("control",), taken.append)
    for _ in range(SLICE + 1):
        backlog.put(message)
    slices = backlog.is_read("control")
    assert next(slices) == SLICE
    backlog.put(history.messages[-1])
    assert [*slices] == [1, 1]
    backlog.put(history.messages[1])
    idents = [found.envelope.id for found in taken[SLICE:]]
    assert idents == [message.envelope.id, history.messages[-1].envelope.id, history.messages[1].envelope.id]


def test_bytes_and_figures_are_not_held() -> None:
    history, taken = History(), []
    history.finding("f1")
    backlog = Backlog(("control",), taken.append)
    for message in history.messages:
        backlog.put(message)
    assert [*backlog.is_read("control")] == [2]
    assert [(found.record.value, found.event.deployment) for found in taken] == [(b"", "d"), (b"", "d")]
