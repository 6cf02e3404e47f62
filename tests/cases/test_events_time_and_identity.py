"""Cases 13, 14, 18, 19, 22: instants without a zone are UTC, no record can empty a tile, and an entity has one name."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Poison
from headrace.events.features import FeatureShardAdvanced, Tile
from headrace.features.as_of import as_of
from headrace.features.entities import LONGEST_PART, entity_key, part_of
from headrace.features.events import EventTable
from headrace.features.origins import MOST_PLACES, MOST_SPARSE, Origins
from headrace.features.plan import plan_view, refusal
from headrace.features.rows import entities_of
from headrace.features.store import VALUES_BYTES, OnlineStore
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope, Origin
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Count, Deduplicate, Deployment, FeatureView, Join, Key, Mean, Number, Project, Source
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace_feature.adapters.admission import Admission
from headrace_feature.core.source_fold import SourceFold

START = 1_364_774_400.0
NOW_MS = int(START * 1000)


class Order(msgspec.Struct):
    at: float
    user: int
    shop: str
    amount: float


ORDERS = Source("orders", event=Order, event_time="at", key="shop")
USER = FeatureView("user", ORDERS, "user", {"mean": Mean("amount", "3h"), "n": Count("3h")})
PAIR = FeatureView("pair", ORDERS, ("shop", "user"), {"n": Count("3h")})
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Number("user"), Key("shop")],
                [USER.by("user"), PAIR.by("shop", "user")],
                feature_delay=0,
            )
        ],
        sources=[ORDERS],
        views=[USER, PAIR],
    )
)
TOPICS = Topics.load()
TOPIC = TOPICS.of_source("orders")
CODEC = Codec(TOPICS, {TOPIC: event_struct(PROJECT.sources[0])})
ADMISSION = Admission(CODEC, TOPICS, PROJECT.sources)
PLANS = [plan_view(PROJECT, "user"), plan_view(PROJECT, "pair")]


def record(offset: int, event: Order, append_ms: int = NOW_MS) -> Record:
    return Record(TOPIC, 0, offset, b"k", msgspec.msgpack.encode(event), (), append_ms)


class Both:
    """The online fold and the offline fold, which receive the same records."""

    def __init__(self) -> None:
        self.fold, self.table = SourceFold(PROJECT.sources[0], PLANS), EventTable(PROJECT.sources[0])
        self.refused: list[str] = []

    def read(self, records: list[Record]) -> None:
        for found in records:
            self.table.take(CODEC.decode(found))
            try:
                self.fold.on_record(ADMISSION.decode(found))
            except Poison as poison:
                self.refused.append(poison.reason)
        self.fold.fold()

    def values(self, view: str, inputs: dict[str, Any], at_s: float) -> tuple[list[float], list[float]]:
        """The features of a request: online and offline."""
        deployment = PROJECT.deployments[0]
        plan = next(plan for plan in PLANS if plan.view.name == view)
        entity = entities_of(deployment, inputs)[view]
        store = OnlineStore()
        store.define([PROJECT])
        for partition in range(2):
            shard = FeatureShardAdvanced("orders", partition, {}, views=self.fold.views)
            store.apply(message(shard))
        for found, name, state in self.fold.take_touched():
            store.apply(message(state.encode(found, name, 0)))
        online = store.lookup(plan.view.key, entity, at_s, 0.0)
        offline = as_of(plan, self.table, [entity], np.array([at_s]), 0.0).values[0]
        return online.tolist(), offline.tolist()


def message(event: Tile | FeatureShardAdvanced) -> Message:
    return Message(Record("features.online.v1", 0, 0, b"k", b""), Envelope("", "", "", 0.0), event)


@pytest.mark.parametrize("asked", [7, 7.0, "7", "7.0", True + 6])
def test_an_int_field_is_found_by_a_number_however_it_is_written(asked: Any) -> None:
    both = Both()
    both.read([record(0, Order(START - 1000, 7, "a", 30.0)), record(1, Order(START - 900, 8, "a", 99.0))])
    online, offline = both.values("user", {"user": asked, "shop": "a"}, START)
    assert online == offline == [30.0, 1.0]


def test_parts_that_hold_the_separator_are_two_entities() -> None:
    class Pair(msgspec.Struct):
        at: float
        x: str
        y: str

    source = Source("pairs", Pair, "at", "x")
    view = FeatureView("v", source, ("x", "y"), {"n": Count("3h")})
    project = compile_project(Project("p", [Deployment("d", "u", [Key("k")])], sources=[source], views=[view]))
    fold, table = SourceFold(project.sources[0], [plan_view(project, "v")]), EventTable(project.sources[0])
    struct = event_struct(project.sources[0])
    for n, (x, y) in enumerate([("a|b", "c"), ("a", "b|c"), ("a\\", "b|c"), ("a", "\\|b|c")]):
        event = struct(at=START, x=x, y=y)
        fold.on_event(event)
        table.add(event, 0, n)
    fold.fold()
    entities = {entity for _, entity in fold.tiles}
    index, _ = table.codes(("x", "y"))
    assert len(entities) == 4
    assert entities == set(index)


@given(st.lists(st.text(max_size=6), min_size=2, max_size=3), st.lists(st.text(max_size=6), min_size=2, max_size=3))
def test_different_parts_never_share_an_entity(left: list[str], right: list[str]) -> None:
    if len(left) == len(right):
        kinds = ["text"] * len(left)
        assert (entity_key(kinds, left) == entity_key(kinds, right)) == (left == right)


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("integer", [7, 7.0, "7", "+7", "7.0", "007", np.int64(7), np.float64(7.0)]),
        ("integer", [2**62 + 1, str(2**62 + 1)]),
        ("integer", [0, -0.0, 0.0, "0", "-0"]),
        ("integer", [True, 1, "1"]),
        ("number", [7, 7.0, "7", "7.0", "7e0"]),
        ("number", [0.0, -0.0, 0, "-0"]),
        ("flag", [True, 1, 1.0, "true", "True", "1"]),
        ("flag", [False, 0, 0.0, -0.0, "false", "0"]),
        ("text", ["7", 7, 7.0]),
        ("text", ["0", -0.0, 0]),
        (
            "instant",
            [
                datetime(2013, 3, 10, 12, 30),
                datetime(2013, 3, 10, 12, 30, tzinfo=UTC),
                datetime(2013, 3, 10, 8, 30, tzinfo=timezone(timedelta(hours=-4))),
                "2013-03-10T12:30:00",
                datetime(2013, 3, 10, 12, 30, tzinfo=UTC).timestamp(),
            ],
        ),
    ],
)
def test_a_value_is_one_entity_however_it_is_written(kind: str, same: list[Any]) -> None:
    assert len({part_of(kind, value) for value in same}) == 1


@pytest.mark.parametrize("kind", ["integer", "number", "flag", "text", "instant", ""])
@given(value=st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=400), st.booleans()))
def test_whatever_is_asked_names_a_bounded_entity_or_none(kind: str, value: Any) -> None:
    found = part_of(kind, value)
    assert found is None or len(found) <= LONGEST_PART


def test_different_integers_and_numbers_stay_different() -> None:
    assert part_of("integer", 2**62) != part_of("integer", 2**62 + 1)
    assert part_of("integer", "7.5") != part_of("integer", "7")
    assert part_of("text", "007") != part_of("text", "7")
    assert part_of("integer", float("nan")) is None
    assert part_of("number", float("inf")) is None


def test_keys_that_existing_tiles_have_stay_as_they_are() -> None:
    assert entity_key(["text"], ["a|b"]) == "a|b"
    assert entity_key(["text", "integer"], ["AA", 7]) == "AA|7"
    assert entity_key(["number"], [7.5]) == "7.5"
    assert entity_key(["flag"], [True]) == "True"
    assert entity_key([], []) == ""


@pytest.mark.parametrize(
    "far", [221_845_392_000.0, START + 301, float("nan"), float("inf"), -1e300, 1e300], ids=lambda far: f"{far:g}"
)
def test_an_event_that_nobody_can_have_seen_yet_enters_neither_fold_and_the_entity_goes_on(far: float) -> None:
    both = Both()
    both.read(
        [
            record(0, Order(START - 600, 7, "a", 10.0)),
            record(1, Order(far, 7, "a", 99.0)),
            record(2, Order(START - 500, 7, "a", 20.0)),
        ]
    )
    assert len(both.refused) == 1
    assert "at " in both.refused[0]
    assert len(both.table) == 2
    assert both.fold.late == 0
    online, offline = both.values("user", {"user": 7, "shop": "a"}, START)
    assert online == offline == [15.0, 2.0]


def test_what_a_dropped_event_was_made_from_is_not_taken_for_seen() -> None:
    origin = Origin("raw.x.v1", 0, 5)
    table = EventTable(PROJECT.sources[0])
    assert table.take_event(Order(START + 9000, 7, "a", 1.0), origin, 0, 0, NOW_MS) is None
    assert table.take_event(Order(START, 7, "a", 1.0), origin, 0, 1, NOW_MS) == START


def test_a_business_instant_and_a_declared_delay_are_free() -> None:
    class Booking(msgspec.Struct):
        departs: datetime
        booked: datetime | None
        flight: str

    booked = compile_project(
        Project(
            "p",
            [Deployment("d", "u", [Key("k")])],
            sources=[
                Source("bookings", Booking, "departs", "flight", available_at="booked"),
                Source("later", Booking, "booked", "flight", available_after="2h"),
            ],
        )
    )
    event = Booking(datetime(2013, 9, 1), datetime.fromtimestamp(START, UTC), "AA1")
    assert refusal(booked.sources[0], event, NOW_MS) is None
    assert refusal(booked.sources[1], event, NOW_MS) is None
    missing = refusal(booked.sources[0], Booking(datetime(2013, 9, 1), None, "AA1"), NOW_MS)
    assert missing is not None
    assert missing.field == "booked"


ZONELESS = """
from datetime import datetime
import msgspec
from headrace.features.plan import available_s
from headrace.project import Source, Outcome
from headrace.project.compile import compile_source
from headrace_pipeline.core.contract import _at_s
from headrace.project.streams import at_seconds
class E(msgspec.Struct):
    at: datetime
    k: str
noon = datetime(2013, 3, 10, 12, 30)
print(available_s(compile_source(Source("s", E, "at", "k")), E(noon, "k")), at_seconds(noon), _at_s(noon))
"""


@pytest.mark.parametrize("zone", ["America/New_York"])
def test_an_instant_without_a_zone_is_utc_whatever_the_zone_of_the_machine(zone: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ZONELESS],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    noon = datetime(2013, 3, 10, 12, 30, tzinfo=UTC).timestamp()
    assert [float(found) for found in done.stdout.split()] == [noon] * 3


def test_many_instants_under_one_entity_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.features.store.VALUES_BYTES", limit := VALUES_BYTES // 16)
    both = Both()
    both.read([record(0, Order(START - 600, 7, "a", 10.0))])
    store = OnlineStore()
    store.define([PROJECT])
    for partition in range(2):
        store.apply(message(FeatureShardAdvanced("orders", partition, {}, views=both.fold.views)))
    key = PLANS[0].view.key
    for begin in range(0, 20_000, 5000):
        at_s = [START + 300.0 * n for n in range(begin, begin + 5000)]
        store.lookup_many(key, ["7"] * 5000, at_s, 0.0)
        assert store.values_bytes <= limit
    values_bytes = sum(map(len, store._values.values()))
    assert values_bytes * 350 <= limit
    store._put(key, "7", 0, None)
    assert store.values_bytes == 0


def test_origins_that_somebody_invents_are_bounded_in_places_and_in_number() -> None:
    origins = Origins()
    for n in range(3 * MOST_PLACES):
        assert not origins.is_repeat(Origin(f"raw.t{n}.v1", 0, 1))
        origins.advance(f"raw.m{n}.v1/0", 5)
    for n in range(MOST_SPARSE + 10):
        origins.is_repeat(Origin("raw.t0.v1", 0, n))
    origins.is_repeat(Origin("raw.t0.v1", 0, 2**80, 2**80))
    assert sum(map(len, origins.sparse.values())) <= MOST_SPARSE
    assert len(origins.sparse) <= 2 * MOST_PLACES
    assert len(origins.marked) <= MOST_PLACES
    assert len(msgspec.msgpack.encode({k: sorted(v) for k, v in origins.sparse.items()})) < 900_000
    # The newest values are still known.
    assert origins.is_repeat(Origin("raw.t0.v1", 0, MOST_SPARSE + 9))


def test_helpers_of_a_transform_remember_a_bounded_number_whatever_instants_they_are_given() -> None:
    seen, pairs = Deduplicate("1h", most=100), Join("1h", most=100)
    seen.is_repeat("far", 9e10)
    for n in range(1000):
        seen.is_repeat(n, 9e10 + n / 1e6)
        pairs.match("a", n % 7, {"n": n}, 9e10)
    assert len(seen._seen) <= 101
    assert sum(map(len, pairs._waiting.values())) == 100
    with pytest.raises(Poison, match=r"years 1\.\.9999"):
        seen.is_repeat("x", float("nan"))
