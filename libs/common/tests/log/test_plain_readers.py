"""Any reader of MessagePack can read what we write: one example of every event, with a value in each field."""

from typing import Any

import msgpack
import msgspec
import msgspec.inspect as kinds
import pytest

from headrace.asking.decisions import with_late
from headrace.errors import Poison
from headrace.events import event_types, type_name
from headrace.events.failures import NotLoaded, Raised
from headrace.events.inference import DecisionMade, Score, Served, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutStarted, Route, RouteChanged
from headrace.log.codec import Codec, written
from headrace.log.port import Record
from headrace.log.topics import Topics

TOPICS = Topics.load()


def example(kind: kinds.Type, within: tuple[type, ...] = ()) -> Any:
    """A builtin value of a type, with a member in every container and every field of every struct. `within`: the structs around it;
    what may be another one of them and need not be is None.
    """
    match kind:
        case kinds.StructType(cls, fields, tag_field, tag):
            made = {found.encode_name: example(found.type, (*within, cls)) for found in fields}
            return made if tag_field is None else made | {tag_field: tag}
        case kinds.DictType(key, value):
            return {example(key, within): example(value, within)}
        case kinds.ListType(item) | kinds.VarTupleType(item) | kinds.SetType(item) | kinds.FrozenSetType(item):
            return [example(item, within)]
        case kinds.TupleType(items):
            return [example(item, within) for item in items]
        case kinds.UnionType(types):
            some = next(found for found in types if not isinstance(found, kinds.NoneType))
            return None if isinstance(some, kinds.StructType) and some.cls in within else example(some, within)
        case kinds.EnumType(cls):
            return next(iter(cls)).value
        case kinds.LiteralType(values):
            return values[0]
        case kinds.IntType():
            return 3
        case kinds.FloatType():
            return 0.5
        case kinds.BoolType():
            return True
        case kinds.BytesType():
            return b"\x00\xff"
        case kinds.StrType() | kinds.AnyType():
            return "text"
    raise AssertionError(f"no example of {kind}: give it one here")


DECISION = DecisionMade(
    "r", "d", "u", 1.5, Served(Score(3, "ab", 0.25)), 7, row=b"\x00\xff", failures={"4": NotLoaded("no room")},
    took_ms={"3": 1.25}, shadows_due=(5,),
)  # fmt: skip
STARTED = msgspec.convert(example(kinds.type_info(RolloutStarted)), RolloutStarted)
ROUTE = Route("d", {3: 0.75, 11: 0.25}, "salt", 2, champion=3)


def read(topic: str, kind: type[msgspec.Struct], value: bytes) -> Any:
    headers = (("ce_type", type_name(kind).encode()), ("content-type", b"application/msgpack"))
    return Codec(TOPICS).decode(Record(TOPICS.name(topic), 0, 0, b"k", value, headers, timestamp_ms=2_000)).event


@pytest.mark.parametrize("name", sorted(event_types()))
def test_every_event_is_read_by_a_plain_reader_and_by_us(name: str) -> None:
    kind = event_types()[name]
    event = msgspec.convert(example(kinds.type_info(kind)), kind, builtin_types=(bytes,))
    plain = msgpack.unpackb(written(event))  # NB: its own defaults: the keys of a map are texts or bytes
    assert set(plain) - {"type"} == {found.encode_name for found in msgspec.structs.fields(kind)}
    assert msgspec.convert(plain, kind, builtin_types=(bytes,), strict=False) == event


WITH_MAPS = [
    ("inference.decisions", DECISION, ("failures", "took_ms")),
    ("registry.routes", ROUTE, ("shares",)),
    ("registry.facts", RouteChanged("d", ROUTE), ("shares",)),
    ("monitor.state", RolloutJudged("d", STARTED, routes={17: 0.5}), ("routes",)),
]


@pytest.mark.parametrize(("topic", "event", "maps"), WITH_MAPS, ids=lambda value: type(value).__name__)
def test_maps_of_versions_are_read_in_the_present_and_the_older_form(
    topic: str, event: msgspec.Struct, maps: tuple[str, ...]
) -> None:
    older = numbered(msgpack.unpackb(written(event)), maps)
    assert any(isinstance(key, int) for key in keys(older))
    assert read(topic, type(event), written(event)) == read(topic, type(event), msgpack.packb(older)) == event


def numbered(plain: Any, maps: tuple[str, ...]) -> Any:
    """The same with numbers as keys of the named maps."""
    if not isinstance(plain, dict):
        return plain
    return {
        name: {int(key): found for key, found in value.items()} if name in maps else numbered(value, maps)
        for name, value in plain.items()
    }


def keys(plain: Any) -> list[Any]:
    return [] if not isinstance(plain, dict) else [*plain, *(key for value in plain.values() for key in keys(value))]


def test_a_decision_invalid_in_both_forms_is_poison() -> None:
    with pytest.raises(Poison, match="failures"):
        read("inference.decisions", DecisionMade, msgpack.packb(msgpack.unpackb(written(DECISION)) | {"failures": 5}))


def test_a_decision_is_looked_up_by_the_number_of_a_version() -> None:
    assert (DECISION.failure_of(4), DECISION.failure_of(3)) == (NotLoaded("no room"), None)
    assert (DECISION.took_ms_of(3), DECISION.took_ms_of(4)) == (1.25, None)


def test_a_late_shadows_score_is_looked_up_in_the_same_way() -> None:
    late = [ShadowScored("r", "d", "u", 5, 1.5, failure=Raised("no"), took_ms=2.0)]
    whole = with_late(DECISION, late)
    assert (whole.failure_of(5), whole.took_ms_of(5)) == (Raised("no"), 2.0)
