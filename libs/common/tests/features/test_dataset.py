"""Rows in columns equal rows as objects; records of other deployments are skipped undecoded."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.inference import DecisionMade, Expired, OutcomeObserved, PredictionRequested
from headrace.features.dataset import Gathered, Inputs
from headrace.features.own import is_foreign
from headrace.features.rows import entities_of
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Binary, Category, Count, Deployment, FeatureView, Number, Project, Source
from headrace.project.compile import compile_project


class Visit(msgspec.Struct):
    came_at: float
    place: str
    floor: int


VISITS = Source("visits", event=Visit, event_time="came_at", key="place")
VIEW = FeatureView("by_floor", VISITS, "floor", {"count": Count("3h")})
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Number("x", nullable=True), Number("floor"), Category("place")],
                features=[VIEW.by("floor")],
                label=Binary("y", "1h"),
            )
        ],
        sources=[VISITS],
        views=[VIEW],
    )
)
DEPLOYMENT = PROJECT.deployments[0]


def test_inputs_are_returned_unchanged_and_a_number_is_one_however_it_was_written() -> None:
    inputs = Inputs(DEPLOYMENT)
    rows: list[dict[str, Any]] = [{"x": 1.5, "floor": 7, "place": "a"}, {"floor": 7.0, "place": "a"}]
    for row in rows:
        inputs.add(row)
    assert list(inputs) == [rows[0], {"x": None, "floor": 7.0, "place": "a"}]
    assert [entities_of(DEPLOYMENT, row) for row in inputs] == [{"by_floor": "7"}] * 2
    assert list(inputs[1:]) == [list(inputs)[1]]
    assert list(inputs.column("x")) == [1.5, None]


def test_rows_are_ordered_by_instant_unit_and_id_and_the_first_request_of_an_id_counts() -> None:
    gathered = Gathered(PROJECT, DEPLOYMENT, Topics.load(), 0.0, 100.0, 100.0)
    good = {"x": 1.0, "floor": 1, "place": "a"}
    for ident, at_s, unit, inputs in [
        ("r3", 5.0, "u2", good), ("r2", 5.0, "u1", good), ("r1", 5.0, "u1", good), ("r1", 1.0, "u0", good),
        ("bad", 2.0, "u", {"x": "no"}), ("bad", 2.0, "u", good), ("late", 100.0, "u", good), ("r0", 4.0, "u9", good),
    ]:  # fmt: skip
        gathered.request(ident, at_s, unit, PredictionRequested("d", inputs))
    assert gathered.rows({}).ids == ["r0", "r1", "r2", "r3"]


def record(event: msgspec.Struct, *, json: bool = False) -> Record:
    made = out("t", "k", event, Envelope("i", "", "test", 0.0))
    return Record("t", 0, 0, b"k", msgspec.json.encode(event) if json else made.value, made.headers, 0)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_a_record_is_skipped_only_when_it_certainly_names_another_deployment(mine: str, named: str, unit: str) -> None:
    decision = DecisionMade(unit, named, unit, 0.0, Expired(0), 0)
    events = [PredictionRequested(named), OutcomeObserved(named, unit, 1.0), decision]
    for event in events:
        assert not (is_foreign(record(event), mine) and named == mine)
        assert not (is_foreign(record(event, json=True), mine) and named == mine)
    assert is_foreign(record(PredictionRequested("other")), "mine")
    assert is_foreign(record(PredictionRequested("other"), json=True), "mine")
    assert is_foreign(record(DecisionMade("r", "other", "u", 0.0, Expired(0), 0)), "mine")


@given(st.binary(max_size=60))
def test_any_bytes_can_be_looked_at(value: bytes) -> None:
    for found in (value, b"\x81" + value, b"\x82\xaadeployment" + value, b"\xde\x00\x01\xaa" + value):
        is_foreign(Record("t", 0, 0, None, found), "mine")


def test_any_record_of_a_users_topic_can_be_read() -> None:
    topics = Topics.load()
    gathered, codec = Gathered(PROJECT, DEPLOYMENT, topics, 0.0, 1e9, 1e9), Codec(topics)
    for value in (
        b"",
        b"{",
        b"\xc1",
        b"\x81\xaadeployment\xa1d",
        msgspec.msgpack.encode({"deployment": "d", "inputs": 7}),
    ):
        gathered.read(codec, Record(topics.name("inference.requests"), 0, 0, None, value))
        gathered.read(codec, Record(topics.of_source("visits"), 0, 0, None, value))
    assert len(gathered.rows({})) == 0
