"""Progress markers, crashes and restarts, decided on values alone."""

from typing import Any

import pytest

from headrace.events.definition import PipelineDefinition, ProjectDefinition
from headrace.events.features import PipelineAdvanced
from headrace.events.project import ProjectApplied
from headrace.log.codec import Codec
from headrace.log.port import Out, Record
from headrace.log.topics import Topics
from headrace_pipeline.core import suspects
from headrace_pipeline.core.hosting import hosted, is_changed, why_restart
from headrace_pipeline.core.progress import Progress, on_arrived, on_written
from headrace_pipeline.settings import MOST_HUNG

RAW = "raw.feed.v1"
CODEC = Codec(Topics.load())


def record(offset: int, partition: int = 0) -> Record:
    return Record(RAW, partition, offset, b"k", b"{}")


def markers(outs: tuple[Out, ...]) -> list[tuple[int | None, int, int]]:
    """Of each marker the partition that it lies in, the raw partition and the offset that it names."""
    found: list[Any] = [
        CODEC.decode(Record(out.topic, out.partition or 0, 0, out.key, out.value, out.headers)) for out in outs
    ]
    assert all(isinstance(message.event, PipelineAdvanced) for message in found)
    return [(m.record.partition, m.event.partition, m.event.offset) for m in found]


def test_what_lies_before_the_first_record_of_a_partition_is_marked_once_on_every_target() -> None:
    progress = Progress("land", (("events.landings.v1", 2),), "t1")
    step = on_arrived(progress, [record(5), record(6), record(9, 1)])
    assert markers(step.facts) == [(0, 0, 4), (1, 0, 4), (0, 1, 8), (1, 1, 8)]
    again = on_arrived(step.state, [record(7), record(0, 2)])
    assert markers(again.facts) == [(0, 2, -1), (1, 2, -1)]
    assert on_arrived(again.state, [record(8), record(1, 2)]).facts == ()


def test_without_an_id_of_the_raw_topic_nothing_is_marked_before_its_records() -> None:
    step = on_arrived(Progress("land", (("events.landings.v1", 2),)), [record(5)])
    assert (step.facts, step.state.begun) == ((), frozenset())


def test_the_highest_record_of_each_partition_is_marked_when_all_is_written() -> None:
    step = on_written(Progress("land", (("events.landings.v1", 1),), "t1"), [record(6), record(5), record(2, 1)])
    assert markers(step.facts) == [(0, 0, 6), (0, 1, 2)]
    assert len({dict(out.headers)["ce_id"] for out in step.facts}) == 2


A, B = ("a", RAW, 0, 1, 0), ("b", RAW, 0, 2, 0)


def test_of_two_crashes_the_record_that_was_in_flight_at_both_is_to_blame() -> None:
    known = suspects.after_crash({}, [A, B])
    assert [suspects.is_suspect(known, key) for key in (A, B)] == [True, True]
    known = suspects.after_crash(known, [A])
    assert suspects.is_to_blame(known, A)
    assert B not in known
    assert suspects.is_to_blame(suspects.after_crash(known, [B]), A)
    assert [("dead letter" in suspects.describe(A, crashes)) for crashes in (1, 2)] == [False, True]


def test_transforms_take_turns_while_a_suspect_may_still_be_met() -> None:
    assert not suspects.must_take_turns({}, 0.0)
    assert suspects.must_take_turns({A: 1}, suspects.ALONE_S - 1)
    assert not suspects.must_take_turns({A: 1}, suspects.ALONE_S)
    assert not suspects.must_take_turns({A: suspects.MOST_CRASHES}, 0.0)


def test_only_the_newest_crashes_are_known_and_those_of_imports_end_with_an_orderly_end() -> None:
    many = [("p", RAW, 0, n, 0) for n in range(suspects.MOST_KNOWN + 5)]
    known = suspects.after_crash({}, many)
    assert (len(known), many[0] in known, many[-1] in known) == (suspects.MOST_KNOWN, False, True)
    code = suspects.key_of("p", suspects.import_of("digest"))
    assert suspects.without_imports({A: 1, code: 2}) == {A: 1}
    assert "being imported" in suspects.describe(code, 1)


def applied(name: str, digest: str, has_pipelines: bool = True) -> ProjectApplied:
    pipelines = (PipelineDefinition("land", "", "feed", (), ()),) if has_pipelines else ()
    return ProjectApplied(name, digest, "", ProjectDefinition(name, (), (), (), pipelines, ()), 0.0)


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        (applied("p", "d1"), False),
        (applied("p", "d2"), True),
        (applied("p", "d1", has_pipelines=False), False),
        (applied("p", "d2", has_pipelines=False), True),
        (applied("q", "d1"), True),
        (applied("q", "d1", has_pipelines=False), False),
    ],
)
def test_what_is_hosted_changes_with_the_digest_of_a_project_that_has_or_had_pipelines(
    found: ProjectApplied, changed: bool
) -> None:
    running = hosted({"p": applied("p", "d1"), "r": applied("r", "d1", has_pipelines=False)})
    assert running == {"p": "d1"}
    assert is_changed(running, found) is changed


def test_a_resumed_partition_or_many_hung_threads_are_a_reason_to_begin_anew() -> None:
    assert why_restart([], MOST_HUNG - 1) is None
    assert "hang on threads" in (why_restart([], MOST_HUNG) or "")
    assert "raw.feed.v1/3 goes on" in (why_restart([(RAW, 3)], 0) or "")
