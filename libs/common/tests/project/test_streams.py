"""The helpers inside pipelines."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.project import Deduplicate, Join


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20_000)), max_size=60))
def test_no_message_is_a_repeat_of_one_that_is_further_away(messages: list[tuple[str, int]]) -> None:
    seen = Deduplicate(3600)
    first: list[tuple[str, int]] = []
    for key, at in messages:
        near = [found for found in first if found[0] == key and abs(found[1] - at) < 3600]
        if seen.is_repeat(key, float(at)):
            assert near
        else:
            first.append((key, at))


@given(st.lists(st.tuples(st.sampled_from("lr"), st.sampled_from("ab"), st.integers(0, 7200)), max_size=40))
def test_a_join_finds_every_pair_of_the_time_once_in_any_order(messages: list[tuple[str, str, int]]) -> None:
    pairs = Join(7200)
    found = [
        tuple(sorted((n, other)))
        for n, (side, key, at) in enumerate(messages)
        for other in pairs.match(side, key, n, float(at))
    ]
    wanted = [
        (i, j)
        for i, (side, key, _) in enumerate(messages)
        for j in range(i + 1, len(messages))
        if messages[j][0] != side and messages[j][1] == key
    ]
    assert sorted(found) == sorted(wanted)
