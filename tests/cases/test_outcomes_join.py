"""The join of outcomes and requests at any clock equals brute force, and so does the fate of each outcome."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases.outcomes_oracle import HOUR, Outcome, Request, history, label_by_loops

from headrace.events.definition import LabelDefinition
from headrace.features import outcomes
from headrace.features.outcomes import FATES, Asked, counts_of, fates_of, labels_of, packed, table_of

H = 6 * HOUR


def asked(requests: list[Request]) -> Asked:
    at_s = np.array([found.at_s for found in requests], dtype=np.float64)
    return outcomes.asked([found.unit for found in requests], at_s, [found.id for found in requests])


def table(observed: list[Outcome]) -> np.ndarray:
    return table_of(b"".join(packed(o.unit, o.value, o.known_s, o.id, o.request, o.corrects) for o in observed))


def label(absent: str = "unknown", horizon_s: float = H) -> LabelDefinition:
    return LabelDefinition("y", "binary", horizon_s, absent)


def labels(
    requests: list[Request], observed: list[Outcome], clock_s: float = math.inf, absent: str = "unknown"
) -> list:
    return labels_of(label(absent), asked(requests), table(observed), clock_s).labels.tolist()


def one(observed: list[Outcome], request: str = "r") -> float:
    return labels([Request(request, "u", 0.0)], observed)[0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("absent", ["unknown", "negative"])
def test_labels_are_those_of_brute_force_at_any_clock(seed: int, absent: str) -> None:
    requests, observed = history(seed)
    for clock_s in (math.inf, 5 * HOUR, 30.5 * HOUR, 0.0, -1.0):
        expected = [label_by_loops(request, observed, H, clock_s, absent) for request in requests]
        np.testing.assert_array_equal(labels(requests, observed, clock_s, absent), expected)


def test_the_histories_tried_hold_what_they_should() -> None:
    requests, observed = history(1)
    fates = counts_of(fates_of(label(), asked(requests), table(observed)))
    assert all(fates[name] > 0 for name in FATES)
    assert sum(fates.values()) == len(observed)
    known = [label_by_loops(request, observed, H) for request in requests]
    assert 20 < sum(not math.isnan(found) for found in known) < len(requests) - 20


any_outcome = st.builds(
    Outcome,
    id=st.sampled_from("abcdef"),
    unit=st.sampled_from(["u", "v"]),
    known_s=st.integers(-12, 60).map(lambda minute: 60.0 * minute),
    value=st.integers(0, 99).map(float),
    request=st.sampled_from([None, "r0", "r1"]),
    corrects=st.sampled_from([None, None, "a", "b", "c", "z"]),
)
instants = st.integers(-5, 50).map(lambda minute: 60.0 * minute)


@given(st.lists(any_outcome, max_size=12), st.lists(instants, max_size=5), instants)
def test_any_history_gives_what_loops_give(observed: list[Outcome], at_s: list[float], clock_s: float) -> None:
    requests = [Request(f"r{n}", "uv"[n % 2], at) for n, at in enumerate(at_s)]
    small = label(horizon_s=20 * 60.0)
    for by_s in (clock_s, math.inf):
        got = labels_of(small, asked(requests), table(observed), by_s).labels
        expected = [label_by_loops(request, observed, 20 * 60.0, by_s) for request in requests]
        np.testing.assert_array_equal(got, np.array(expected, dtype=np.float64))
    assert len(fates_of(small, asked(requests), table(observed))) == len(observed)


def test_a_request_whose_horizon_has_passed_keeps_its_label_however_the_log_grows() -> None:
    requests, observed = history(3)
    over_s = 24 * HOUR
    settled = [request for request in requests if request.at_s + H <= over_s]
    by_then = [outcome for outcome in observed if outcome.known_s <= over_s]
    later = [outcome for outcome in observed if outcome.known_s > over_s]
    assert len(settled) > 15
    assert labels(settled, by_then, over_s, "negative") == labels(settled, by_then + later, math.inf, "negative")


def test_what_names_its_request_comes_before_what_names_the_unit_only() -> None:
    by_unit, named = Outcome("a", "u", 60.0, 0.0), Outcome("b", "u", 120.0, 1.0, request="r")
    assert one([by_unit, named]) == 1.0
    assert one([by_unit, named], request="another") == 0.0
    assert labels([Request("r", "u", 0.0)], [by_unit, named], clock_s=90.0) == [0.0]


def test_the_earliest_counts_and_of_one_instant_the_first_on_the_log() -> None:
    assert one([Outcome("b", "u", 120.0, 1.0), Outcome("a", "u", 60.0, 0.0)]) == 0.0
    assert one([Outcome("b", "u", 60.0, 1.0), Outcome("a", "u", 60.0, 0.0)]) == 1.0


def test_only_a_correction_changes_a_value_and_only_from_when_it_was_known() -> None:
    first, fix = Outcome("a", "u", 60.0, 0.0), Outcome("b", "u", 120.0, 1.0, corrects="a")
    undone = Outcome("c", "u", 180.0, 0.0, corrects="b")
    request = [Request("r", "u", 0.0)]
    assert [labels(request, [first, fix, undone], clock_s=at_s)[0] for at_s in (60.0, 120.0, 180.0)] == [0.0, 1.0, 0.0]
    assert one([fix, first]) == 1.0
    assert one([Outcome("x", "u", 60.0, 1.0, corrects="nobody")]) != one([first])
    assert math.isnan(one([Outcome("x", "u", 60.0, 1.0, corrects="x"), Outcome("y", "u", 60.0, 1.0, corrects="z")]))


def test_a_correction_beyond_the_horizon_changes_nothing_and_is_counted() -> None:
    observed = [Outcome("a", "u", 60.0, 0.0), Outcome("b", "u", H + 60.0, 1.0, corrects="a")]
    assert one(observed) == 0.0
    fates = fates_of(label(), asked([Request("r", "u", 0.0)]), table(observed))
    assert [FATES[found] for found in fates] == ["used", "beyond_horizon"]


def test_what_became_of_each_outcome_is_reported() -> None:
    observed = [
        Outcome("a", "u", 60.0, 1.0),
        Outcome("a", "u", 60.0, 0.0),
        Outcome("b", "u", 90.0, 0.0),
        Outcome("c", "u", H + 1.0, 1.0),
        Outcome("d", "u", -1.0, 1.0),
        Outcome("e", "never asked", 60.0, 1.0),
        Outcome("f", "u", 60.0, 1.0, corrects="e"),
        Outcome("g", "u", 60.0, 1.0, request="another"),
        Outcome("h", "u", 90.0, 1.0, corrects="a"),
    ]
    fates = fates_of(label(), asked([Request("r", "u", 0.0)]), table(observed))
    assert [FATES[found] for found in fates] == [
        "used", "repeated", "second", "beyond_horizon", "of_no_request", "of_no_request", "corrects_nothing",
        "of_no_request", "used",
    ]  # fmt: skip
    assert Counter(counts_of(fates)) == Counter(
        used=2, second=1, repeated=1, beyond_horizon=1, of_no_request=3, corrects_nothing=1
    )


def test_many_outcomes_of_many_requests_are_joined_without_a_loop() -> None:
    rng = np.random.default_rng(1)
    count = 100_000
    found = np.zeros(2 * count, dtype=table([]).dtype)
    found["unit"] = rng.integers(1, 10_000, 2 * count)
    found["known_s"] = rng.uniform(0, 30 * 24 * HOUR, 2 * count)
    found["id"] = rng.integers(1, 2**63, 2 * count)
    some = Asked(found["unit"][:count].copy(), rng.uniform(0, 30 * 24 * HOUR, count), found["id"][:count].copy())
    joined = labels_of(label(), some, found)
    assert 0.05 < np.mean(~np.isnan(joined.labels)) < 0.5
