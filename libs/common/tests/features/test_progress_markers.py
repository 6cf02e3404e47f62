"""Progress markers of a pipeline move forward only, and everything that they have passed is a repeat."""

from headrace.features.origins import MOST_SPARSE, Origins
from headrace.log.envelope import Origin

PLACE = "raw.m.v1/0"


def at(offset: int, index: int = 0) -> Origin:
    return Origin("raw.m.v1", 0, offset, index)


def test_an_earlier_marker_moves_nothing() -> None:
    origins = Origins()
    assert origins.advance(PLACE, 9)
    assert not origins.advance(PLACE, 4)
    assert not origins.advance(PLACE, 9)
    assert origins.marked == {PLACE: 9}
    assert origins.is_repeat(at(7))


def test_up_to_the_marker_all_are_repeats_and_beyond_it_only_seen_ones() -> None:
    origins = Origins()
    assert [origins.is_repeat(at(n)) for n in (3, 5, 7)] == [False] * 3
    assert origins.advance(PLACE, 5)
    assert [origins.is_repeat(at(n)) for n in (3, 4, 5, 6, 7)] == [True, True, True, False, True]
    assert origins.sparse == {PLACE: {6 * 65_536, 7 * 65_536}}


def test_the_first_offset_of_a_topic_is_marked() -> None:
    origins = Origins()
    assert not origins.is_repeat(at(0))
    assert origins.advance(PLACE, 0)
    assert origins.is_repeat(at(0))
    assert not origins.is_repeat(at(1))


def test_events_of_one_raw_record_are_distinguished_by_their_index() -> None:
    origins = Origins()
    assert [origins.is_repeat(at(3, index)) for index in (0, 1, 1, 2)] == [False, False, True, False]


def test_one_partition_does_not_affect_another() -> None:
    origins = Origins()
    origins.advance(PLACE, 9)
    assert not origins.is_repeat(Origin("raw.m.v1", 1, 4))
    assert not origins.is_repeat(Origin("raw.other.v1", 0, 4))
    assert not origins.is_repeat(None)


def test_a_recreated_topic_begins_anew_even_where_its_marker_moves_nothing() -> None:
    origins = Origins()
    assert origins.advance(PLACE, 9, "first")
    origins.is_repeat(at(12))
    assert origins.advance(PLACE, -1, "second")
    assert not origins.is_repeat(at(12))
    assert not origins.advance(PLACE, -1, "second")
    assert origins.marked == {}
    assert not origins.advance(PLACE, -1)
    assert origins.topic_ids == {PLACE: "second"}


def test_a_marker_without_an_id_refers_to_the_known_topic() -> None:
    origins = Origins()
    assert origins.advance(PLACE, 5, "first")
    assert origins.advance(PLACE, 6)
    assert origins.is_repeat(at(6))


def test_the_estimated_size_follows_the_content() -> None:
    origins = Origins()
    for n in range(10, 20):
        origins.is_repeat(at(n))
    assert origins.held_bytes == 10 * 100
    origins.advance(PLACE, 14, "first")
    assert origins.held_bytes == 5 * 100 + 300 + 100
    again = Origins(dict(origins.marked), {p: set(c) for p, c in origins.sparse.items()}, dict(origins.topic_ids))
    assert (again, again.held_bytes) == (origins, origins.held_bytes)
    origins.advance(PLACE, -1, "second")
    assert origins.held_bytes == 100


def test_beyond_the_limit_the_lower_half_of_the_fullest_partition_is_dropped() -> None:
    origins = Origins()
    for n in range(10):
        origins.is_repeat(Origin("raw.other.v1", 0, n))
    for n in range(MOST_SPARSE - 10):
        origins.is_repeat(at(n))
    assert origins.held_bytes == MOST_SPARSE * 100
    assert not origins.is_repeat(at(MOST_SPARSE))
    kept = (MOST_SPARSE - 9) - (MOST_SPARSE - 9) // 2
    assert {place: len(codes) for place, codes in origins.sparse.items()} == {"raw.other.v1/0": 10, PLACE: kept}
    assert origins.held_bytes == (kept + 10) * 100
    assert origins.is_repeat(at(MOST_SPARSE))
    assert min(origins.sparse[PLACE]) == (MOST_SPARSE - 9) // 2 * 65_536


def test_an_index_belongs_to_its_offset_when_a_marker_passes() -> None:
    origins = Origins()
    for origin in (at(5, 3), at(6, 0), at(6, 2), Origin("raw.other.v1", 0, 1)):
        assert not origins.is_repeat(origin)
    origins.advance(PLACE, 5)
    assert origins.sparse == {PLACE: {6 * 65_536, 6 * 65_536 + 2}, "raw.other.v1/0": {65_536}}
    assert origins.held_bytes == 3 * 100 + 300


def test_the_highest_offset_is_accepted_and_larger_ones_are_not() -> None:
    origins, highest = Origins(), 2**47 - 1
    assert [origins.is_repeat(at(highest, 65_535)) for _ in range(2)] == [False, True]
    assert [origins.is_repeat(at(highest + 1)) for _ in range(2)] == [False, False]
    assert not origins.advance(PLACE, highest + 1)
    assert origins.advance(PLACE, highest)
    assert origins.sparse == {PLACE: set()}


def test_a_topic_whose_id_is_first_received_later_is_the_known_one() -> None:
    origins = Origins()
    origins.advance(PLACE, 5)
    assert not origins.advance(PLACE, 4, "first")
    assert origins.is_repeat(at(5))
    assert origins.topic_ids == {PLACE: "first"}


def test_nothing_remains_of_a_topic_recreated_before_its_first_marker() -> None:
    origins = Origins()
    assert not origins.advance(PLACE, -1, "first")
    origins.is_repeat(at(3))
    assert origins.advance(PLACE, -1, "second")
    assert origins.sparse == {}
