"""Whole records of events, outcomes and markers, and each reason word for word; what a transform is fed again; who is to blame."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.errors import Misconfigured, Poison
from headrace.events.features import PipelineAdvanced
from headrace.events.inference import OutcomeObserved
from headrace.log.codec import out
from headrace.log.envelope import MAX_TEXT_BYTES, Envelope, Origin, derived_id
from headrace.log.port import MAX_VALUE_BYTES, Record
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Key, Outcome, Project, RawStream, Source, outcomes, pipeline
from headrace.project.compile import compile_project
from headrace_pipeline.core import lookback, suspects
from headrace_pipeline.core.contract import Contract, read_raw, targets_of
from headrace_pipeline.core.hosting import why_restart
from headrace_pipeline.core.lookback import FAILED_BYTES, Lookback, passes
from headrace_pipeline.core.progress import Progress, on_arrived, on_written
from headrace_pipeline.settings import MOST_HUNG

RAW = "raw.feed.v1"
ORIGIN = Origin(RAW, 1, 42, 3)
NOW_MS = 1_000_000
FEED = RawStream("feed")


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")


@pipeline(FEED, to=[LANDINGS, outcomes("d"), outcomes("named"), outcomes("elsewhere")])
async def land(messages: AsyncIterator[dict]) -> AsyncIterator[Landing | Outcome]:
    async for message in messages:
        yield Landing(message["at"], "AA")


@pipeline(FEED, to=[LANDINGS])
async def events_only(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
    async for message in messages:
        yield Landing(message["at"], "AA")


def contract(of: Any, *deployments: Deployment) -> Contract:
    project = compile_project(Project("p", list(deployments), raw=[FEED], pipelines=[events_only], sources=[LANDINGS]))
    definition = msgspec.structs.replace(
        project.pipelines[0], name=of.name, outcomes=tuple(d.name for d in deployments) if of is land else ()
    )
    return Contract(Topics.load(), project, definition, targets_of(of))


D = Deployment("d", "u", [Key("k")], label=Binary("y", "1d"))
NAMED = Deployment("named", "u", [Key("k")], label=Binary("y", "1d", classes=("no", "yes")))
BARE = Deployment("bare", "u", [Key("k")])
BOTH = contract(land, D, NAMED)


def why(of: Contract, yielded: Any, append_ms: int = NOW_MS) -> tuple[str, str | None]:
    with pytest.raises(Poison) as raised:
        of.write(yielded, ORIGIN, "cause", append_ms)
    return raised.value.reason, raised.value.field


def test_an_event_is_written_whole() -> None:
    (record,) = BOTH.write(Landing(7.0, "AA", 2.5), ORIGIN, "cause", NOW_MS)
    envelope = Envelope(derived_id("landings", ORIGIN), "", "land", 7.0, "cause", "cause", ORIGIN)
    assert record == out("events.landings.v1", "AA", Landing(7.0, "AA", 2.5), envelope)


@pytest.mark.parametrize(("label", "written"), [(1, 1.0), (True, True), (np.float32(0.0), 0.0)])
def test_an_outcome_is_written_whole_to_each_deployment(label: Any, written: Any) -> None:
    records = BOTH.write(Outcome("u1", label, 9.0, "r1", "o1"), ORIGIN, "cause", NOW_MS)
    assert records == [
        out(
            "inference.outcomes.v1",
            "u1",
            OutcomeObserved(name, "u1", written, "r1", "o1"),
            Envelope(derived_id("outcome", name, ORIGIN), "", "land", 9.0, "cause", "cause", ORIGIN),
        )
        for name in ("d", "named")
    ]


def test_an_outcome_may_come_with_a_name_an_id_and_a_datetime() -> None:
    of = contract(land, NAMED)
    (record,) = of.write(
        Outcome("u1", "yes", datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC), id="own"), ORIGIN, "cause", NOW_MS
    )
    assert record == out(
        "inference.outcomes.v1",
        "u1",
        OutcomeObserved("named", "u1", "yes"),
        Envelope("own", "", "land", 9.0, "cause", "cause", ORIGIN),
    )


def outcome(**changes: Any) -> Outcome:
    return Outcome(**({"unit": "u", "label": 1.0, "at": 9.0} | changes))


SECONDS = "a datetime or seconds since the epoch"
PRINTABLE = f"must be a printable text of at most {MAX_TEXT_BYTES} bytes, got"


@pytest.mark.parametrize(
    ("yielded", "reason", "field"),
    [
        (7, "pipeline land yielded int; its outputs are Landing, Outcome", None),
        (outcome(unit=7), "pipeline land yielded an Outcome whose unit must be a text, got int 7: write str(...)", "unit"),
        (outcome(unit=""), "pipeline land yielded an Outcome whose unit must be a text, got str '': write str(...)", "unit"),
        (outcome(unit="u" * (MAX_TEXT_BYTES + 1)), f"pipeline land yielded an Outcome whose unit has more than {MAX_TEXT_BYTES} bytes", "unit"),
        (outcome(label=None), "pipeline land yielded an Outcome whose label must be a finite number, got NoneType None", "label"),
        (outcome(label=float("nan")), "pipeline land yielded an Outcome whose label must be a finite number, got float nan", "label"),
        (outcome(at="noon"), f"pipeline land yielded an Outcome whose at must be {SECONDS}, got str 'noon': datetime.fromisoformat(...) reads a text", "at"),
        (outcome(at=True), f"pipeline land yielded an Outcome whose at must be {SECONDS}, got bool True: datetime.fromisoformat(...) reads a text", "at"),
        (outcome(id=""), f"pipeline land yielded an Outcome whose id {PRINTABLE} str ''", "id"),
        (outcome(corrects="a\nb"), f"pipeline land yielded an Outcome whose corrects {PRINTABLE} str 'a\\nb'", "corrects"),
        (outcome(request_id=7), f"pipeline land yielded an Outcome whose request_id {PRINTABLE} int 7", "request_id"),
        (outcome(corrects="o", id="o"), "pipeline land yielded an Outcome that corrects itself, o", "corrects"),
        (Landing(7.0, "AA", "late"), "pipeline land broke the contract of landings: Expected `float | null`, got `str` - at `$.delay`", "delay"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_may_not_pass_says_what_was_got_and_what_was_expected(
    yielded: Any, reason: str, field: str | None
) -> None:
    assert why(BOTH, yielded) == (reason, field)


def test_long_values_are_cut_in_a_reason_and_large_integers_are_no_numbers() -> None:
    reason, _ = why(BOTH, outcome(request_id=["x" * 200]))
    assert reason.endswith(f"got list ['{'x' * 93}...")
    assert "must be a finite number, got int 1000" in why(BOTH, outcome(label=10**400))[0]
    assert why(BOTH, outcome(at=10**400))[1] == "at"


def test_as_much_as_fits_passes() -> None:
    text = "u" * MAX_TEXT_BYTES
    (record, _) = BOTH.write(outcome(unit=text, request_id=text, id=text, corrects="o"), ORIGIN, "cause", NOW_MS)
    assert record.key == text.encode()
    empty = len(msgspec.msgpack.encode(Landing(7.0, "AA"))) + 4
    fits = Landing(7.0, "A" * (MAX_VALUE_BYTES - empty + 2))
    assert len(msgspec.msgpack.encode(fits)) == MAX_VALUE_BYTES
    assert "an event has 1,048,577 bytes, the limit is 1,048,576" in why(BOTH, Landing(7.0, fits.carrier + "A"))[0]
    assert "an event has" not in why(BOTH, fits)[0]


def test_an_instant_may_lie_five_minutes_ahead() -> None:
    late = why(BOTH, outcome(at=1_301.0))
    assert (late[0].startswith("pipeline land yielded an Outcome: at 1970-01-01T00:21:41"), late[1]) == (True, "at")
    assert len(BOTH.write(outcome(at=1_300.0), ORIGIN, "cause", NOW_MS)) == 2
    ahead = why(BOTH, Landing(1_301.0, "AA"))
    assert ahead[0].startswith("pipeline land broke the contract of landings: ")
    assert ahead[1] == "at"


def test_a_label_is_of_the_deployments_kind() -> None:
    assert why(contract(land, D), outcome(label=0.5))[1] == "label"
    assert why(contract(land, NAMED), outcome(label="maybe"))[0].startswith("pipeline land yielded an Outcome: ")
    bare = "pipeline land yielded an Outcome: the deployment 'bare' declares no label, so it takes no outcomes"
    assert why(contract(land, BARE), outcome()) == (bare, None)


def test_an_outcome_of_a_pipeline_that_declares_none_is_not_lost_without_a_word() -> None:
    reason = "pipeline events_only yielded Outcome; its outputs are Landing"
    assert why(contract(events_only, D), outcome()) == (reason, None)


class Rude:
    @property
    def __class__(self) -> type:
        raise ValueError("no class")


def test_a_value_that_raises_is_poison() -> None:
    reason, field = why(BOTH, Rude())
    assert (reason, field) == ("pipeline land yielded Rude, which cannot be written: ValueError: no class", None)


def test_outputs_are_measured_as_they_are_written() -> None:
    assert BOTH.measure(Landing(7.0, "AA")) == len(msgspec.msgpack.encode(Landing(7.0, "AA")))
    assert BOTH.measure(object()) == 0


def test_two_sources_of_one_type_are_a_mistake() -> None:
    other = Source("other", event=Landing, event_time="at", key="carrier")
    assert targets_of(land) == {Landing: "landings"}

    class Both:
        name, to = "both", (LANDINGS, other)

    with pytest.raises(
        Misconfigured, match=r"^pipeline both: two of its sources have the same event type; give each its own$"
    ):
        targets_of(Both())  # type: ignore[arg-type]


# what comes in


def raw(value: bytes | None, content_type: str | None = None, unread: str | None = None) -> Record:
    headers = () if content_type is None else (("content-type", content_type.encode()),)
    return Record(RAW, 0, 0, None, value, headers, 0, unread) if unread else Record(RAW, 0, 0, None, value, headers)


PACKED = msgspec.msgpack.encode({"a": 1})


def test_a_raw_message_is_json_or_messagepack_by_its_type_or_its_first_byte() -> None:
    assert [
        read_raw(raw(*given))
        for given in ((b' {"a": 1}',), (PACKED,), (PACKED, "application/msgpack"), (b'{"a": 1}', "application/json"))
    ] == [{"a": 1}] * 4
    whole = b'{"a": "' + b"x" * (MAX_VALUE_BYTES - 9) + b'"}'
    assert len(read_raw(raw(whole))["a"]) == MAX_VALUE_BYTES - 9


@pytest.mark.parametrize(
    ("value", "content_type", "reason"),
    [
        (None, None, "value is empty"),
        (b"x" * (MAX_VALUE_BYTES + 1), None, "value has 1048577 bytes, the limit is 1048576"),
        (b"{", None, "not JSON: "),
        (b"[" * 100_000, None, "not JSON: "),
        (b"\xc1", None, "not MessagePack: "),
        (b'{"a": 1}', "application/msgpack", "not MessagePack: "),
        (b"[1]", None, "a message is an object, got list"),
        (msgspec.msgpack.encode(7), None, "a message is an object, got int"),
    ],
)
def test_what_is_no_message_says_why(value: bytes | None, content_type: str | None, reason: str) -> None:
    with pytest.raises(Poison) as raised:
        read_raw(raw(value, content_type))
    assert raised.value.reason.startswith(reason)
    assert raised.value.reason == reason or reason.endswith(": ")


# markers


def test_a_marker_is_written_whole_to_every_partition_of_every_target() -> None:
    progress = Progress("land", (("events.a.v1", 2), ("events.b.v1", 1)), "AAAAAAAAAAAAAAAAAAAAAA")
    step = on_written(progress, [Record(RAW, 3, 7, b"k", b"{}"), Record(RAW, 3, 6, b"k", b"{}")])

    def marker(topic: str, partition: int) -> Any:
        event = PipelineAdvanced("land", RAW, 3, 7, progress.topic_id)
        return out(topic, None, event, Envelope(f"land/{RAW}/3/7/{partition}", "", "land", 0.0), partition)

    assert step.facts == (marker("events.a.v1", 0), marker("events.a.v1", 1), marker("events.b.v1", 0))
    assert step.state == progress
    begun = on_arrived(progress, [Record(RAW, 3, 8, b"k", b"{}")])
    assert begun.facts == step.facts
    assert begun.state.begun == {(RAW, 3)}
    assert on_arrived(begun.state, []).state == begun.state


# what is fed again


def at(offset: int, partition: int = 0, topic: str = RAW) -> Record:
    return Record(topic, partition, offset, b"k", b"{}")


def test_what_lies_before_the_first_record_that_was_not_seen_is_a_gap() -> None:
    known = Lookback()
    assert known.gaps([at(0), at(5), at(7, 1)]) == [at(0), at(7, 1)]
    assert known.seen_to(at(0)) is None
    known.on_handled([at(5), at(6), at(2, 1)])
    assert [known.seen_to(found) for found in (at(0), at(0, 1), at(0, 2), at(0, 0, "raw.b.v1"))] == [7, 3, None, None]
    assert known.gaps([at(7), at(9)]) == []
    assert known.gaps([at(8), at(3, 1), at(0, 2)]) == [at(8), at(0, 2)]
    known.on_caught_up([at(8)])
    assert (known.gaps([at(8)]), known.seen_to(at(8))) == ([], 8)


def test_a_transform_that_failed_starts_with_nothing_and_the_record_is_known() -> None:
    known = Lookback()
    known.on_handled([at(5)])
    known.on_failed(at(6))
    assert [known.has_failed(found) for found in (at(6), at(6, 1), at(5), at(6, 0, "raw.b.v1"))] == [
        True,
        False,
        False,
        False,
    ]
    assert (known.seen_to(at(5)), known.held_bytes) == (None, FAILED_BYTES)
    known.on_handled([at(5)])
    known.on_restarted()
    assert (known.seen_to(at(5)), known.has_failed(at(6))) == (None, True)


def test_so_many_failed_records_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookback, "MOST_FAILED", 2)
    known = Lookback()
    for offset in (1, 2, 1, 3):
        known.on_failed(at(offset))
    assert [known.has_failed(at(offset)) for offset in (1, 2, 3)] == [False, True, True]
    assert known.held_bytes == 2 * FAILED_BYTES


def test_the_passes_become_less_patient() -> None:
    assert [(found.stops_at_failure, found.is_last) for found in passes()] == [(True, False)] * 5 + [
        (False, False)
    ] * 2 + [(False, True)]


# who is to blame

KEY = ("land", RAW, 1, 42, 9)


def test_a_record_in_flight_is_known_by_its_place_and_time() -> None:
    assert suspects.key_of("land", Record(RAW, 1, 42, b"k", b"v", (), 9)) == KEY
    code = suspects.import_of("d" * 100)
    assert (code.topic, code.partition, code.offset, code.key, code.value) == (
        f"import of {'d' * 64}",
        0,
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("crashes", "suspect", "to_blame"), [(0, False, False), (1, True, False), (2, False, True), (3, False, True)]
)
def test_one_crash_makes_a_suspect_and_two_a_culprit(crashes: int, suspect: bool, to_blame: bool) -> None:
    known = {KEY: crashes}
    assert (suspects.is_suspect(known, KEY), suspects.is_to_blame(known, KEY)) == (suspect, to_blame)
    assert suspects.must_take_turns(known, 0.0) is suspect
    assert not suspects.is_suspect({}, KEY)


def test_after_a_crash_the_newest_come_last() -> None:
    other, third = ("b", RAW, 0, 1, 0), ("c", RAW, 0, 1, 0)
    assert list(suspects.after_crash({KEY: 2, other: 1, third: 1}, [other]).items()) == [(KEY, 2), (other, 2)]
    assert list(suspects.after_crash({KEY: 1, other: 2}, [KEY, third])) == [other, KEY, third]


def test_each_crash_is_described_with_what_happens_now() -> None:
    at_it = f"pipeline land was at {RAW}/1/42 when the process ended without being asked to"
    assert suspects.describe(KEY, 1) == f"{at_it} (1); transforms run one at a time until it is done"
    assert suspects.describe(KEY, 2) == f"{at_it} (2); it is a dead letter from now on"
    code = suspects.key_of("p", suspects.import_of("digest"))
    importing = "project p was being imported when the process ended without being asked to"
    assert suspects.describe(code, 1) == f"{importing} (1); it is tried once more"
    assert suspects.describe(code, 2) == f"{importing} (2); it is left out from now on"


def test_a_restart_says_why() -> None:
    assert why_restart([], MOST_HUNG) == f"{MOST_HUNG} transforms hang on threads that cannot be ended: restarting"
    assert why_restart([(RAW, 3), (RAW, 4)], MOST_HUNG) == f"{RAW}/3 goes on: restarting, to read it from there"
