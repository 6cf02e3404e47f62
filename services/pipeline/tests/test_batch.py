"""What becomes of the records of a batch, decided on values alone."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from headrace.errors import Poison
from headrace.log.envelope import Origin, read_headers
from headrace.log.poison import IN_A_ROW, PoisonLedger
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Deployment, Key, Project, RawStream, Source, pipeline
from headrace.project.compile import compile_project
from headrace_pipeline.core.batch import WRITE_AFTER_S, Decided, Stop, choose_way, decide_batch, is_enough, reached
from headrace_pipeline.core.contract import Contract, targets_of
from headrace_pipeline.core.handled import MOST_HELD_BYTES, MOST_OUTPUT_BYTES, MOST_OUTPUTS, Handled

RAW = "raw.feed.v1"


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")


@pipeline(RawStream("feed"), to=[LANDINGS])
async def land(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
    async for message in messages:
        yield Landing(message["at"], "AA")


PROJECT = compile_project(
    Project("p", [Deployment("d", "u", [Key("k")])], raw=[land.raw], pipelines=[land], sources=[LANDINGS])
)
CONTRACT = Contract(Topics.load(), PROJECT, PROJECT.pipelines[0], targets_of(land))
GOOD = Handled([Landing(1.0, "AA"), Landing(2.0, "AA")])


def record(offset: int, partition: int = 0) -> Record:
    return Record(RAW, partition, offset, b"k", b"{}")


def bad() -> Handled:
    return Handled(poison=Poison("it raised"))


def decided(records: list[Record], handled: list[Handled], ledger: PoisonLedger | None = None) -> Decided:
    return decide_batch(records, handled, ledger or PoisonLedger(), CONTRACT, "dlq.pipeline.v1", 1_000_000)


def topics_of(found: Decided) -> list[str]:
    return [out.topic for out in found.outs]


def test_a_failed_record_is_a_dead_letter_in_its_place_and_the_others_pass() -> None:
    records = [record(n) for n in range(3)]
    found = decided(records, [GOOD, bad(), GOOD])
    events = ["events.landings.v1"] * 2
    assert topics_of(found) == [*events, "dlq.pipeline.v1", *events]
    assert [(r.offset, poison.reason) for r, poison in found.dead] == [(1, "it raised")]
    assert (found.done, found.stops, found.is_all_well) == (records, {}, False)


def test_each_output_says_which_record_it_was_made_of_and_in_which_place() -> None:
    found = decided([record(7, 3)], [GOOD])
    envelopes = [read_headers(Record(out.topic, 0, 0, out.key, out.value, out.headers)) for out in found.outs]
    assert [one.origin for one in envelopes] == [Origin(RAW, 3, 7, 0), Origin(RAW, 3, 7, 1)]
    assert {one.causation_id for one in envelopes} == {f"{RAW}/3/7"}


def test_what_breaks_the_contract_takes_all_outputs_of_its_record_along() -> None:
    found = decided([record(0)], [Handled([Landing(1.0, "AA"), 7])])
    assert topics_of(found) == ["dlq.pipeline.v1"]
    assert "its outputs are Landing" in found.dead[0][1].reason


def test_records_that_were_not_handled_yet_are_not_done() -> None:
    found = decided([record(0), record(1)], [GOOD])
    assert ([r.offset for r in found.done], found.is_all_well) == ([0], True)


def test_one_bad_record_too_many_stops_its_partition_before_it_and_no_other() -> None:
    many = IN_A_ROW + 3
    records = [record(n) for n in range(many)] + [record(0, 1)]
    found = decided(records, [bad() for _ in range(many)] + [GOOD])
    assert found.stops == {(RAW, 0): Stop(IN_A_ROW, "pipeline land cannot handle too many of its messages: it raised")}
    assert len(found.dead) == IN_A_ROW
    assert reached(found.done) == {(RAW, 0): IN_A_ROW - 1, (RAW, 1): 0}


def test_a_good_record_between_bad_ones_keeps_the_partition_going() -> None:
    ledger = PoisonLedger()
    for begin in range(0, 300, 100):
        found = decided([record(begin + n) for n in range(100)], [bad() for _ in range(99)] + [GOOD], ledger)
        assert found.stops == {}


@pytest.mark.parametrize(
    ("stopped_at", "resumed_at", "ways"),
    [
        (None, 0, ["to be handled", "to be handled", "to be handled"]),
        (6, 0, ["to be handled", "past a stop", "past a stop"]),
        (None, 6, ["skipped", "to be handled", "to be handled"]),
    ],
)
def test_records_lie_before_a_stop_past_it_or_before_where_it_was_resumed(
    stopped_at: int | None, resumed_at: int, ways: list[str]
) -> None:
    assert [choose_way(record(offset), stopped_at, resumed_at) for offset in (5, 6, 7)] == ways


def test_a_batch_is_written_when_it_fails_a_lot_takes_long_or_is_large() -> None:
    assert not is_enough([bad()] * IN_A_ROW, WRITE_AFTER_S)
    assert is_enough([bad()] * (IN_A_ROW + 1), 0.0)
    assert is_enough([GOOD], WRITE_AFTER_S + 0.1)
    assert is_enough([Handled(held_bytes=MOST_HELD_BYTES), Handled(held_bytes=1)], 0.0)
    assert not is_enough([Handled(held_bytes=MOST_HELD_BYTES - 1), Handled(held_bytes=1)], 0.0)


def test_one_message_becomes_a_bounded_number_of_outputs_and_bytes() -> None:
    found = Handled()
    for _ in range(MOST_OUTPUTS):
        found.add(0, 0)
    with pytest.raises(Poison, match="10,001 outputs"):
        found.add(0, 0)
    Handled().add(0, MOST_OUTPUT_BYTES)
    with pytest.raises(Poison, match="1 outputs of 8,388,609 bytes"):
        Handled().add(0, MOST_OUTPUT_BYTES + 1)
