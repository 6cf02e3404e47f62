"""What a shard writes of each batch, takes over from history, builds and drops: whole facts, on values."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, PipelineAdvanced, Tile, ViewAdopted
from headrace.features.entities import LONGEST_PART
from headrace.log.envelope import Origin
from headrace.log.port import Record
from headrace.project import Count, Deployment, FeatureView, Key, Max, Mean, Min, Project, Source
from headrace.project.compile import compile_project
from headrace_feature.core.batches import FEWEST
from headrace_feature.core.facts import ViewDropped, Written
from headrace_feature.core.shard import ShardState
from headrace_feature.core.source_fold import SourceFold
from headrace_feature.core.views import plans_of

HOUR = 3_600.0
TOPICS = {"landings": "events.landings.v1"}
PLACE = "events.landings.v1/2"


class Landing(msgspec.Struct):
    at: float
    carrier: str | None
    gate: str | None = None
    delay: float | None = None
    ident: str | None = None
    taxi: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier", dedupe="ident", dedupe_within="1h")


def view(name: str, *entity: str, **features: Any) -> FeatureView:
    return FeatureView(name, source=LANDINGS, entity=list(entity) if len(entity) != 1 else entity[0], features=features)


BY_CARRIER = view("carrier", "carrier", n=Count("3h"), mean=Mean("delay", "3h"))
BY_BOTH = view("both", "carrier", "gate", n=Count("1h"))
TWO = view("two", "carrier", mean=Mean("delay", "3h"), least=Min("taxi", "3h"), most=Max("taxi", "3h"))
MOST = view("carrier", "carrier", most=Max("delay", "3h"))


def defined(*views: FeatureView) -> Any:
    deployment = Deployment("d", "u", [Key("carrier")], [])
    return plans_of([compile_project(Project("p", [deployment], sources=[LANDINGS], views=list(views)))])


@dataclass
class Read:
    record: Record
    event: Any
    origin: Origin | None = None


def landed(offset: int, at_s: float = 0.0, carrier: Any = "AA", **more: Any) -> Read:
    return Read(
        Record("events.landings.v1", 2, offset, b"k", b""), Landing(at_s, carrier, **more), Origin("raw", 0, offset)
    )


def marker(offset: int, raw_offset: int) -> Read:
    event = PipelineAdvanced("land", "raw", 0, raw_offset, "t1")
    return Read(Record("events.landings.v1", 2, offset, b"k", b""), event)


def shard(*views: FeatureView, history: Any = ()) -> tuple[ShardState, list[Written]]:
    found = ShardState(defined(*views), TOPICS, 2)
    for fact in history:
        found.apply(fact)
    return found, list(found.on_start().facts)


def key_of(*views: FeatureView) -> tuple[str, ...]:
    return tuple(sorted(defined(*views)["landings"][1]))


def adopted(one: FeatureView) -> ViewAdopted:
    ((_, plan),) = defined(one)["landings"][1].items()
    return ViewAdopted("landings", 2, plan.view, plan.feature_delay_s)


def advanced(applied: int, **more: Any) -> FeatureShardAdvanced:
    fields = {"views": key_of(BY_CARRIER)} | more
    return FeatureShardAdvanced("landings", 2, {PLACE: applied}, **fields)


def tiles(facts: Any) -> dict[tuple[str, str], list[int]]:
    """Counts per pane of the first width, by view's name and entity."""
    found = [fact for fact in facts if isinstance(fact, Tile)]
    assert {tile.source_partition for tile in found} <= {2}
    return {
        (tile.view.partition("@")[0], tile.entity): np.frombuffer(tile.panes[0].count, "<i8").tolist() for tile in found
    }


def of(facts: Any, kind: type) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


def test_a_source_that_was_never_read_keeps_all_views_from_the_start() -> None:
    state, (written,) = shard(BY_CARRIER)
    assert written == Written((adopted(BY_CARRIER), advanced(0)), 0)
    assert (state.folds["landings"].views, state.to_build, state.applied("landings")) == (key_of(BY_CARRIER), {}, 0)


def test_a_batch_writes_each_touched_tile_once_and_how_far_it_came_last() -> None:
    state, _ = shard(BY_CARRIER, BY_BOTH)
    batch = [
        landed(7, HOUR, "AA", gate="1", delay=2.0),
        landed(8, 2 * HOUR, "AA", delay=4.0),
        landed(9, HOUR, None),
        landed(10, HOUR, "UA", gate="2"),
    ]
    (written,) = state.on_batch(batch).facts
    assert tiles(written.facts) == {
        ("carrier", "AA"): [1, 1],
        ("carrier", "UA"): [1],
        ("both", "AA|1"): [1],
        ("both", "UA|2"): [1],
    }
    assert (written.offset, written.cause, state.folded) == (10, batch[-1].record, ("landings",))
    assert written.facts[-1] == advanced(
        11,
        views=key_of(BY_CARRIER, BY_BOTH),
        max_event_s=2 * HOUR,
        sparse={"raw/0": [7 * 65536, 8 * 65536, 9 * 65536, 10 * 65536]},
    )
    (again,) = state.on_batch([marker(11, 9), landed(12, HOUR, "UA", gate="2")]).facts
    assert tiles(again.facts) == {("carrier", "UA"): [2], ("both", "UA|2"): [2]}
    assert again.facts[-1] == advanced(
        13,
        views=key_of(BY_CARRIER, BY_BOTH),
        max_event_s=2 * HOUR,
        origins={"raw/0": 9},
        sparse={"raw/0": [10 * 65536, 12 * 65536]},
        topic_ids={"raw/0": "t1"},
    )


def test_an_origin_and_an_identity_count_once() -> None:
    state, _ = shard(BY_CARRIER)
    (written,) = state.on_batch(
        [landed(7), landed(7), landed(8, ident="a"), landed(9, 5.0, ident="a"), landed(10, HOUR, ident="a")]
    ).facts
    assert sum(tiles(written.facts)[("carrier", "AA")]) == 3
    (reached,) = of(written.facts, FeatureShardAdvanced)
    assert (reached.repeated, reached.late, reached.applied) == (1, 0, {PLACE: 11})
    assert {seen.source for seen in of(written.facts, IdentitiesSeen)} == {"landings"}


def test_what_comes_after_all_its_panes_were_dropped_is_late() -> None:
    state, _ = shard(BY_CARRIER)
    (written,) = state.on_batch([landed(7, 100 * HOUR), landed(8, 0.0), landed(9, 0.0, None)]).facts
    assert (written.facts[-1].late, written.facts[-1].max_event_s) == (1, 100 * HOUR)
    (without,) = shard()[0].on_batch([landed(7, 100 * HOUR), landed(8, 0.0)]).facts
    assert without.facts[-1].late == 0


@pytest.mark.parametrize("hours", [lambda n: (n % 7) / 2, lambda n: n, lambda n: (n * 37) % 50])
@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST, 3 * FEWEST])
def test_many_at_once_are_folded_as_one_after_the_other(count: int, hours: Any) -> None:
    events = [
        landed(n, hours(n) * HOUR, "ABC"[n % 3], delay=None if n % 5 == 0 else float(n), taxi=float(n * 7 % 11))
        for n in range(count)
    ]
    whole, single = shard(BY_CARRIER, TWO)[0], shard(BY_CARRIER, TWO)[0]
    (at_once,) = whole.on_batch(events).facts
    written = [state for one in events for state in single.on_batch([one]).facts]
    newest = {(tile.view, tile.entity): tile for step in written for tile in of(step.facts, Tile)}
    assert {(tile.view, tile.entity): tile for tile in of(at_once.facts, Tile)} == newest
    assert written[-1].facts[-1] == at_once.facts[-1]


def test_a_shard_goes_on_where_its_own_output_ends() -> None:
    first, _ = shard(BY_CARRIER)
    (written,) = first.on_batch([landed(7, delay=2.0), landed(8, ident="a"), marker(9, 7)]).facts
    again, facts = shard(BY_CARRIER, history=[adopted(BY_CARRIER), *written.facts])
    assert (facts, again.applied("landings")) == ([], 10)
    (after,) = again.on_batch([landed(7), landed(8), landed(11, 9.0, ident="a"), landed(12, delay=4.0)]).facts
    (direct,) = first.on_batch([landed(7), landed(8), landed(11, 9.0, ident="a"), landed(12, delay=4.0)]).facts
    assert after == direct
    assert sum(tiles(after.facts)[("carrier", "AA")]) == 3
    assert after.facts[-1].repeated == 1


def test_a_changed_view_is_built_beside_the_old_one_and_adopted_with_all_of_its_tiles() -> None:
    first, _ = shard(BY_CARRIER)
    (written,) = first.on_batch([landed(7, delay=2.0)]).facts
    state, facts = shard(MOST, history=[adopted(BY_CARRIER), *written.facts])
    assert facts == []
    assert (state.folds["landings"].views, state.to_build["landings"].views) == (key_of(BY_CARRIER), key_of(MOST))
    built = state.to_build["landings"]
    built.on_record(landed(7, delay=2.0))
    built.fold()
    (over,) = state.on_built("landings", built).facts
    both = tuple(sorted(key_of(BY_CARRIER) + key_of(MOST)))
    assert (over.offset, over.cause, over.facts[0], of(over.facts, Tile)[0].view) == (
        8,
        None,
        adopted(MOST),
        key_of(MOST)[0],
    )
    assert over.facts[-1] == advanced(8, views=both, sparse={"raw/0": [7 * 65536]})
    history = [adopted(BY_CARRIER), *written.facts, *over.facts]
    after, (dropped,) = shard(MOST, history=history)
    assert dropped == Written(
        (
            ViewDropped("landings", key_of(BY_CARRIER)[0], ("AA",)),
            advanced(8, views=key_of(MOST), sparse={"raw/0": [7 * 65536]}),
        ),
        8,
    )
    assert list(after.folds["landings"].tiles) == [(key_of(MOST)[0], "AA")]


def test_a_tombstone_takes_a_tile_or_a_view_away() -> None:
    first, _ = shard(BY_CARRIER)
    (written,) = first.on_batch([landed(7)]).facts
    state = ShardState(defined(BY_CARRIER), TOPICS, 2)
    for fact in (adopted(BY_CARRIER), *written.facts):
        state.apply(fact)
    for given in ((key_of(BY_CARRIER)[0], "AA"), ("never", "AA"), (None, key_of(BY_CARRIER)[0]), (None, "never")):
        state.forget(*given)
    (found,) = state.on_start().facts
    assert (found.facts, state.folds["landings"].tiles) == ((adopted(BY_CARRIER),), {})


def test_facts_of_other_sources_change_nothing() -> None:
    other = FeatureShardAdvanced("gone", 2, {"x/2": 9})
    state, (written,) = shard(BY_CARRIER, history=[other, IdentitiesSeen("gone", 2, 0, b"", b"")])
    assert written.facts[-1] == advanced(0)
    assert state.applied("landings") == 0


# one source


def fold(*views: FeatureView) -> SourceFold:
    source, plans = defined(*views)["landings"]
    return SourceFold(source, plans.values())


def test_touched_tiles_are_told_once_in_the_order_of_their_names() -> None:
    found = fold(BY_CARRIER)
    for carrier in ("UA", "AA", "UA"):
        found.on_event(Landing(0.0, carrier))
    found.fold()
    assert [(plan.view.key, entity) for plan, entity, _ in found.take_touched()] == [
        (key_of(BY_CARRIER)[0], "AA"),
        (key_of(BY_CARRIER)[0], "UA"),
    ]
    assert found.take_touched() == []
    found.fold()
    assert found.take_touched() == []


def test_what_tiles_take_is_estimated_by_those_written_last() -> None:
    found = fold(BY_CARRIER)
    for carrier in ("UA", "AA"):
        found.on_event(Landing(0.0, carrier))
    found.fold()
    assert found.held_bytes() == 2 * 600
    found.take_touched()
    panes = sum(len(panes) for tile in found.tiles.values() for panes in tile.panes) // 2
    assert found.held_bytes() == 2 * (600 + 260 * panes)
    assert [found.is_over(limit) for limit in (found.held_bytes(), found.held_bytes() - 1)] == [False, True]
    for n in range(9):
        found.on_event(Landing(0.0, None, ident=f"i{n}"))
    assert (found.repeats.held_bytes, found.is_over(10 * 180 * 9)) == (9 * 180, False)
    assert fold().is_over(0) is False


def test_identities_are_kept_as_long_as_the_longest_view_and_their_own_time() -> None:
    assert fold().repeats.keep_s == HOUR
    found = fold(BY_CARRIER)
    (plan,) = (found.plan(key) for key in found.views)
    assert plan is not None
    assert found.repeats.keep_s == plan.keep_s + HOUR
    assert found.plan("never") is None


@pytest.mark.parametrize(
    ("carrier", "gate", "entity"),
    [("AA", "1", "AA|1"), ("A|A", "1", "A\\|A|1"), ("A\\", "1", "A\\\\|1"), (None, "1", None), ("AA", None, None)],
)
def test_an_entity_of_several_parts_is_escaped_and_needs_all_of_them(
    carrier: Any, gate: Any, entity: str | None
) -> None:
    found = fold(BY_BOTH)
    found.on_event(Landing(0.0, carrier, gate))
    found.fold()
    assert [name for _, name, _ in found.take_touched()] == ([] if entity is None else [entity])


def test_an_entity_that_is_too_long_is_cut_and_stays_one() -> None:
    found = fold(BY_CARRIER)
    for carrier in ("A" * LONGEST_PART, "A" * (LONGEST_PART + 1), "A" * (LONGEST_PART + 2)):
        found.on_event(Landing(0.0, carrier))
    found.fold()
    names = [name for _, name, _ in found.take_touched()]
    assert len(set(names)) == 3
    assert all(len(name) <= LONGEST_PART for name in names)
