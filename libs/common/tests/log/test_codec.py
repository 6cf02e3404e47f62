"""What the codec reads and refuses, and that plain MessagePack readers can read what it writes."""

import msgpack
import msgspec
import pytest

from headrace.errors import Fatal, Poison
from headrace.events import event_types, type_name
from headrace.events.features import PipelineAdvanced
from headrace.events.inference import DecisionMade, FellBack, PredictionRequested, Score
from headrace.log.codec import Codec, caused_by, out
from headrace.log.envelope import Envelope, Origin, format_instant, parse_instant, read_headers
from headrace.log.port import Record
from headrace.log.topics import Topics

TOPICS = Topics.load("test")
REQUESTS = TOPICS.name("inference.requests")
INSTANT_S = 1_364_774_400.0


def codec() -> Codec:
    return Codec(TOPICS)


def record(value: bytes | None, topic: str = REQUESTS, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record(topic, 1, 42, b"unit", value, headers, timestamp_ms=7_000)


def test_an_event_is_read_back_with_its_cause_and_correlation() -> None:
    cause = codec().decode(record(b'{"deployment":"d"}'))
    envelope = caused_by(cause, id="mine", source="test", time_s=INSTANT_S)
    written = out(REQUESTS, "u", PredictionRequested("d", {"a": 1.5, "b": None}), envelope)
    read = codec().decode(record(written.value, headers=written.headers))
    assert read.event == PredictionRequested("d", {"a": 1.5, "b": None})
    assert (read.envelope.causation_id, read.envelope.correlation_id) == (f"{REQUESTS}/1/42",) * 2
    assert read.envelope.time_s == INSTANT_S


def test_plain_msgpack_reads_a_decision_without_any_type_of_ours() -> None:
    score = Score(0, "", 0.26)
    decision = DecisionMade("r", "d", "u", INSTANT_S, FellBack("prior", "no version yet", score), 3)
    plain = msgpack.unpackb(codec().encode(decision))
    assert plain["answer"] == {
        "type": "fell_back",
        "step": "prior",
        "reason": "no version yet",
        "score": {"version": 0, "model_digest": "", "value": 0.26, "probabilities": None},
    }


def test_a_plain_producer_needs_only_a_key_and_a_value() -> None:
    read = codec().decode(record(msgpack.packb({"deployment": "d", "inputs": {"x": 1}})))
    assert read.envelope.id == f"{REQUESTS}/1/42"
    assert read.envelope.time_s == 7.0


def test_json_is_accepted_on_users_topics_by_its_first_byte() -> None:
    assert codec().decode(record(b'{"deployment":"d","inputs":{"x":1}}')).event.inputs == {"x": 1}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (b"\xc1", None),
        (b"", None),
        (b"\x81\xaadeploy", None),
        (msgpack.packb({"deployment": "d"}) + b"\x00", None),
        (b"\x81\xaadeployment\xa2\xff\xfe", None),
        (msgpack.packb({"inputs": {}}), "deployment"),
        (msgpack.packb({"deployment": 3}), "deployment"),
        (msgpack.packb(["a", "list"]), None),
        (b"\xdd\xff\xff\xff\xff", None),
        (b"\x91" * 2000, None),
    ],
    ids=[
        "reserved",
        "empty",
        "truncated",
        "trailing",
        "utf8",
        "missing",
        "wrong-type",
        "list",
        "header-bomb",
        "nesting",
    ],
)
def test_bytes_that_cannot_be_understood_are_poison_that_names_the_field(value: bytes, field: str | None) -> None:
    with pytest.raises(Poison) as refused:
        codec().decode(record(value))
    assert refused.value.field == field


def test_a_value_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Poison, match="the limit is 1048576"):
        codec().decode(record(b"\x80" * 1_048_577))


def test_an_unknown_type_is_dead_lettered_on_users_topics_and_fatal_among_facts() -> None:
    stranger = (("ce_type", b"from.the.future"),)
    with pytest.raises(Poison, match="unknown type"):
        codec().decode(record(b"\x80", headers=stranger))
    with pytest.raises(Fatal, match="upgrade this reader first"):
        codec().decode(record(b"\x80", TOPICS.name("registry.facts"), stranger))
    assert codec().decode(record(b"\x80", TOPICS.name("inference.decisions"), stranger)).event is None


def test_a_bad_time_is_poison_not_a_crash() -> None:
    with pytest.raises(Poison, match="ce_time"):
        read_headers(record(b"\x80", headers=(("ce_time", b"yesterday"),)))


def test_instants_survive_the_header_to_the_microsecond() -> None:
    assert parse_instant(format_instant(INSTANT_S + 0.123456)) == INSTANT_S + 0.123456


def test_unknown_fields_are_ignored_so_that_old_readers_still_work() -> None:
    assert codec().decode(record(b'{"deployment":"d","added_later":1}')).event.deployment == "d"


def test_every_event_has_its_own_name_and_a_schema() -> None:
    types = event_types()
    assert type_name(PredictionRequested) == "prediction.requested"
    assert all(msgspec.json.schema(found) for found in types.values())


def test_every_type_named_in_topics_yaml_exists() -> None:
    named = {name for rule in TOPICS.rules.values() for name in rule.types}
    assert named <= event_types().keys()


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = TOPICS.of_source("landings")
EVENT = Landing(INSTANT_S, "AA")
HEADERS = out(LANDINGS, "AA", EVENT, Envelope("i", "landing", "t", INSTANT_S, origin=Origin("raw.m.v1", 0, 7))).headers
MARKER = PipelineAdvanced("land", "raw.m.v1", 0, 7)


def replaced(name: str, value: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple((found, value if found == name else old) for found, old in HEADERS)


@pytest.mark.parametrize(
    "found",
    [
        record(msgspec.msgpack.encode(EVENT), LANDINGS, HEADERS),
        record(b'{"at": 3, "carrier": "AA"}', LANDINGS),
        record(msgspec.msgpack.encode(MARKER), LANDINGS, out(LANDINGS, None, MARKER, Envelope("m", "", "t", 0.0)).headers),
        record(msgspec.msgpack.encode({"at": "noon", "carrier": "AA"}), LANDINGS, HEADERS),
        record(b"\xc1", LANDINGS, HEADERS),
        record(None, LANDINGS, HEADERS),
        record(msgspec.msgpack.encode(EVENT), LANDINGS, replaced("ce_time", b"yesterday")),
        record(msgspec.msgpack.encode(EVENT), LANDINGS, replaced("ce_origin", b"nowhere")),
        record(msgspec.msgpack.encode(EVENT), LANDINGS, replaced("ce_id", b"\xff")),
        record(msgspec.msgpack.encode(EVENT), LANDINGS, replaced("ce_source", "Köln".encode())),
        record(msgspec.msgpack.encode(EVENT), LANDINGS, (*HEADERS, ("more", b"x" * 70_000))),
    ],
)  # fmt: skip
def test_reading_only_the_event_accepts_and_refuses_exactly_the_same(found: Record) -> None:
    reader = Codec(TOPICS, {LANDINGS: Landing})
    try:
        message = reader.decode(found)
    except Poison:
        with pytest.raises(Poison):
            reader.decode_event(found)
    else:
        assert reader.decode_event(found) == (message.event, message.envelope.origin)
