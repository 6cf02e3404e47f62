"""Faults 1-4: whatever bytes, codec, headers and instants a producer sends, a record becomes a message or exactly one dead letter that fits."""

import hashlib
import os
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases.log_border_scene import CODEC, GOOD, LANDINGS, NOW_MS, REQUESTS, TOPICS, Landing

from headrace.errors import Fatal, Poison
from headrace.log.codec import header
from headrace.log.dead_letters import dead_letter
from headrace.log.port import Record

USERS = [LANDINGS, *(TOPICS.prefixed(base) for base, rule in TOPICS.rules.items() if rule.audience == "users" and "<" not in base)]  # fmt: skip


def record(value: bytes | None, topic: str = REQUESTS, *, key: bytes | None = b"u", **headers: bytes | None) -> Record:
    named: Any = tuple((name.replace("content_type", "content-type"), given) for name, given in headers.items())
    return Record(topic, 0, 7, key, value, named, NOW_MS)


@pytest.mark.parametrize(
    "origin",
    [b"a/b/c/d", b"t/-1/0/0", b"t/0/99999999999999999999/0", b"t/0/1/2/3", b"/0/0/0", "t/٣/0/0".encode(), b"t/ 1/0/0",
     b"t/1_0/0/0", b"t/" + b"9" * 490 + b"/0/0", b"t/2147483648/0/0"],
)  # fmt: skip
def test_an_origin_that_names_no_place_is_poison(origin: bytes) -> None:
    with pytest.raises(Poison) as refused:
        CODEC.decode(record(GOOD, ce_origin=origin))
    assert refused.value.field == "ce_origin"


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_source", "ce_correlationid", "ce_causationid", "traceparent"])
def test_what_names_a_record_has_at_most_512_bytes(name: str) -> None:
    with pytest.raises(Poison, match="at most 512 are allowed") as refused:
        CODEC.decode(record(GOOD, **{name: b"x" * 513}))
    assert refused.value.field == name


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (b'{"deployment":"d","deadline_ms":%s}' % (b"9" * 400), "deadline_ms"),
        (b'{"deployment":"d","deadline_ms":-%s}' % (b"9" * 30), "deadline_ms"),
        (msgspec.msgpack.encode({"deployment": "d", "deadline_ms": 2**64 - 1}), "deadline_ms"),
        (b'{"deployment":"%s"}' % (b"d" * 600), "deployment"),
        (b'{"deployment":"d","unit":"%s"}' % (b"u" * 600), "unit"),
        (b'{"deployment":"d","unit":"%s"}' % ("ü" * 300).encode(), "unit"),
    ],
)
def test_numbers_and_names_are_bounded_where_they_enter(value: bytes, field: str) -> None:
    with pytest.raises(Poison) as refused:
        CODEC.decode(record(value))
    assert refused.value.field == field


def test_a_huge_integer_among_the_inputs_is_no_reason_not_to_answer() -> None:
    event = CODEC.decode(
        record(b'{"deployment":"d","inputs":{"a":%s,"b":12345678901234567890,"c":1}}' % (b"9" * 400))
    ).event
    assert event.inputs == {"a": float("inf"), "b": 12345678901234567890.0, "c": 1}


def test_integers_of_commands_have_64_bits() -> None:
    value = b'{"deployment":"d","cause":"manual","reason":"","by":"a","clock_s":1,"waivers":[]}'
    topic = TOPICS.name("training.requests")
    assert CODEC.decode(record(value, topic)).event.by == "a"
    with pytest.raises(Poison):
        CODEC.decode(record(value.replace(b'"a"', b'"%s"' % (b"a" * 600)), topic))


def test_a_key_has_at_most_a_kibibyte() -> None:
    with pytest.raises(Poison, match="key has 2000 bytes"):
        CODEC.decode(record(GOOD, key=b"k" * 2000))


def test_headers_without_a_value_or_given_twice_are_read() -> None:
    assert (
        CODEC.decode(record(GOOD, ce_id=None, ce_time=None, ce_origin=None, other=None)).envelope.id
        == f"{REQUESTS}/0/7"
    )
    twice = Record(REQUESTS, 0, 7, b"u", GOOD, (("ce_id", b"a"), ("ce_id", b"b")), NOW_MS)
    assert CODEC.decode(twice).envelope.id == "b"
    assert header(record(GOOD, empty=None).headers, "empty") == ""


@pytest.mark.parametrize("value", [b' \r\n\t{"deployment":"d"}', b'{"deployment":"d"} '])
def test_json_may_have_blanks_around_it(value: bytes) -> None:
    assert CODEC.decode(record(value)).event.deployment == "d"


@pytest.mark.parametrize(
    ("value", "content_type", "message"),
    [
        (GOOD, b"text/plain", "give content-type application/json"),
        (b"[1]", b"application/octet-stream", "give content-type application/json"),
        (b"[1]", b"", "the value is a list: write one record per object"),
        (b"  nothing", b"application/json", "not JSON"),
    ],
)
def test_what_is_wrong_with_a_value_is_stated_in_a_sentence(value: bytes, content_type: bytes, message: str) -> None:
    with pytest.raises(Poison, match=message):
        CODEC.decode(record(value, content_type=content_type))


def test_an_instant_far_ahead_of_the_append_time_is_poison_but_a_request_gets_its_answer() -> None:
    landing = msgspec.msgpack.encode(Landing(0.0, "AA"))
    for ahead in (b"2500-01-01T00:00:00Z", b"2023-11-14T22:20:00Z"):
        headers: dict[str, bytes | None] = {"content_type": b"application/msgpack", "ce_time": ahead}
        for read in (CODEC.decode, CODEC.decode_event):
            with pytest.raises(Poison, match="past the append time") as refused:
                read(record(landing, LANDINGS, **headers))
            assert refused.value.field == "ce_time"
        assert CODEC.decode(record(GOOD, ce_time=ahead)).event.deployment == "d"
    assert CODEC.decode_event(record(landing, LANDINGS, ce_time=b"2023-11-14T22:17:00Z"))[0] == Landing(0.0, "AA")


_VALUES = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    ).map(lambda found: msgspec.json.encode(found, enc_hook=repr) if _is_plain(found) else repr(found).encode()),
    st.fixed_dictionaries(
        {"deployment": st.text(max_size=8) | st.integers()},
        optional={name: st.integers() | st.text(max_size=8) | st.floats() for name in ("unit", "deadline_ms", "label", "at", "carrier", "by")},
    ).map(lambda found: msgspec.json.encode(found) if _is_plain(found) else b"{}"),
)  # fmt: skip
_NAMES = st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_origin", "ce_source", "content-type", "traceparent", "ce_causationid"]) | st.text(max_size=9)  # fmt: skip
_TEXTS = st.sampled_from([b"", b"application/json", b"application/msgpack", b"2013-04-01T00:00:00", b"9999-12-31T23:59:59.999999-23:59", b"0001-01-01", b"t/0/1/2", b"outcome.observed", b"pipeline.advanced", b"start.rollout", b"2013-W01"])  # fmt: skip
_RECORDS = st.builds(
    Record,
    topic=st.sampled_from(USERS),
    partition=st.just(0),
    offset=st.integers(0, 2**63 - 1),
    key=st.none() | st.binary(max_size=40),
    value=st.none() | _VALUES,
    headers=st.lists(st.tuples(_NAMES, st.none() | _TEXTS | st.binary(max_size=40)), max_size=6).map(tuple),
    timestamp_ms=st.sampled_from([NOW_MS, 0, -1, 2**62]),
)


def _is_plain(found: object) -> bool:
    try:
        msgspec.json.encode(found)
    except (OverflowError, ValueError, UnicodeEncodeError):
        return False
    return True


def decodes_or_is_poison(found: Record) -> None:
    """Either way of reading returns a message or raises `Poison`, and the dead letter fits."""
    outcomes = []
    for read in (CODEC.decode, CODEC.decode_event):
        try:
            read(found)
            outcomes.append("read")
        except Poison as poison:
            letter = dead_letter("dlq", found, poison, "fuzz")
            assert len(letter.value or b"") + sum(len(k) + len(v or b"") for k, v in letter.headers) < 1_300_000
            outcomes.append("poison")
    assert len(set(outcomes)) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_RECORDS)
def test_any_record_of_a_users_topic_is_a_message_or_poison(found: Record) -> None:
    decodes_or_is_poison(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_record_of_a_users_topic_is_a_message_or_poison_for_long() -> None:
    until_s = time.monotonic() + float(os.environ.get("HEADRACE_FUZZ_SECONDS", "300"))
    while time.monotonic() < until_s:
        settings(max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            given(_RECORDS)(decodes_or_is_poison)
        )()


def test_an_unknown_fact_stays_fatal_and_an_unreadable_one_poison() -> None:
    facts = TOPICS.name("registry.facts")
    with pytest.raises(Fatal):
        CODEC.decode(record(b"\x80", facts, ce_type=b"from.the.future"))
    with pytest.raises(Poison):
        CODEC.decode(record(b"\x80", facts, ce_type=b"rolled.back", ce_origin=b"a/b/c/d"))


def test_a_letter_that_is_too_long_is_cut_and_marked_as_cut() -> None:
    headers = tuple((f"h{n}", b"x" * 1000) for n in range(200))
    found = Record(REQUESTS, 0, 7, b"k" * 100_000, b"v" * 3_000_000, headers, NOW_MS)
    letter = dead_letter("dlq", found, Poison("why \ud800 not", "f"), "inference")
    assert len(letter.value or b"") == 1_048_576
    assert header(letter.headers, "headrace.cut") == (
        "value: 1048576 of 3000000 bytes; key: 65536 of 100000 bytes; headers: 65 of 200 whole"
    )
    assert header(letter.headers, "headrace.size_bytes") == "3000000"
    assert header(letter.headers, "headrace.sha256") == hashlib.sha256(b"v" * 3_000_000).hexdigest()
    whole = dead_letter("dlq", record(b"\xc1" * 1_048_576), Poison("why"), "inference")
    assert (len(whole.value or b""), header(whole.headers, "headrace.cut")) == (1_048_576, None)
