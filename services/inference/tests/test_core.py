"""Routing, the ladder, admission, repeats, outputs, warming: decisions on values."""

import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from headrace.events.failures import NoTime, Raised, RowUnfit
from headrace.events.features import FeatureShardAdvanced
from headrace.events.inference import (
    Expired,
    FellBack,
    Invalid,
    PredictionRequested,
    Refused,
    Score,
    Served,
)
from headrace.events.registry import ColumnPin, Route, Signature
from headrace.project import (
    Category,
    Count,
    Deployment,
    FeatureView,
    Number,
    Pipeline,
    Project,
    RawStream,
    Source,
    baseline,
    previous,
    prior,
)
from headrace.project.compile import compile_project
from headrace.project.definition import RungDefinition
from headrace.topics import Topics
from headrace_inference.core.admission import Admitted, admit
from headrace_inference.core.applied import contained
from headrace_inference.core.contract import Contract
from headrace_inference.core.isolation import MAX_CALLS, Pace, predict_apart, predict_in_portions
from headrace_inference.core.ladder import Ask, Constant, answer_of, choose_step, rung_of, steps_of
from headrace_inference.core.outputs import fault_of, faults_of_rows, scores_of
from headrace_inference.core.overload import Load, is_refused, on_pressure
from headrace_inference.core.records import REPLY_PARTITION, reply_partition
from headrace_inference.core.repeats import WINDOW, Answered, Untold
from headrace_inference.core.routing import choose_version
from headrace_inference.core.rows import misfit
from headrace_inference.core.warming import LONGEST_WAIT_S, Tries, plan_loads, wait_s

UNITS = [f"unit-{n}" for n in range(4000)]
RUNGS = (RungDefinition("previous"), RungDefinition("baseline"), RungDefinition("prior", 0.26))
ROUTE = Route("d", {3: 1.0}, "salt", 7, champion=3, previous=2, baseline=1)


def routed(shares: dict[int, float], salt: str = "salt") -> list[int | None]:
    return [choose_version("d", salt, unit, shares) for unit in UNITS]


def test_the_same_unit_always_goes_to_the_same_version() -> None:
    assert routed({1: 0.5, 2: 0.5}) == routed({2: 0.5, 1: 0.5})


def test_a_route_once_chosen_is_chosen_for_ever() -> None:
    chosen = [choose_version("flight-delay", "s1", f"AA-{n}", {1: 0.6, 2: 0.3, 3: 0.1}) for n in range(12)]
    assert chosen == [2, 1, 1, 2, 1, 1, 1, 2, 1, 2, 1, 1]


def test_traffic_follows_the_shares() -> None:
    share = routed({1: 0.9, 2: 0.1}).count(2) / len(UNITS)
    assert abs(share - 0.1) < 4 * math.sqrt(0.1 * 0.9 / len(UNITS))


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_no_unit_leaves_a_version_whose_share_grows(one: float, other: float) -> None:
    small, large = sorted((one, other))
    before, after = routed({1: 1 - small, 2: small}), routed({1: 1 - large, 2: large})
    assert all(now == 2 for was, now in zip(before, after, strict=True) if was == 2)


def test_another_salt_is_another_draw() -> None:
    assert routed({1: 0.5, 2: 0.5}) != routed({1: 0.5, 2: 0.5}, "pepper")


def test_a_version_without_a_share_gets_nothing() -> None:
    assert set(routed({1: 0.0, 2: 1.0})) == {2}


def test_the_ladder_goes_champion_previous_baseline_prior() -> None:
    steps = (Ask("champion", 3), Ask("previous", 2), Ask("baseline", 1), Constant(0.26))
    assert steps_of(RUNGS, ROUTE, 3) == steps


def test_a_version_stands_on_the_ladder_once() -> None:
    route = Route("d", {3: 1.0}, "salt", 7, champion=3, previous=3, baseline=3)
    assert steps_of(RUNGS, route, 3) == (Ask("champion", 3), Constant(0.26))


def test_a_rejected_version_that_no_route_names_is_never_asked() -> None:
    assert steps_of(RUNGS, Route("d", {3: 1.0}, "salt", 7), 3) == (Ask("champion", 3), Constant(0.26))


@pytest.mark.parametrize(
    ("failed", "rung", "reason"),
    [
        ({}, ("champion", 3), ""),
        ({3: "NaN"}, ("previous", 2), "champion (version 3): NaN"),
        ({3: "NaN", 2: "gone"}, ("baseline", 1), "champion (version 3): NaN; previous (version 2): gone"),
        (
            {3: "a", 2: "b", 1: "c"},
            ("prior", 0),
            "champion (version 3): a; previous (version 2): b; baseline (version 1): c",
        ),
    ],
)
def test_each_step_names_why_the_ones_above_were_passed_over(
    failed: dict[int, str], rung: tuple[str, int], reason: str
) -> None:
    chosen = choose_step(steps_of(RUNGS, ROUTE, 3), {version: Raised(why) for version, why in failed.items()})
    assert (rung_of(chosen), chosen.reason) == (rung, reason)


def test_without_a_version_the_prior_answers_and_says_so() -> None:
    answer = answer_of(choose_step(steps_of(RUNGS, None, None), {}), None, "d")
    assert answer == FellBack("prior", "no version yet", Score(0, "", 0.26))


def test_without_version_and_ladder_the_refusal_says_what_to_do() -> None:
    answer = answer_of(choose_step(steps_of((), None, None), {}), None, "d")
    assert isinstance(answer, Refused)
    assert answer.reason == "no version of d yet; register one with `headrace model register`"


def test_an_exhausted_ladder_refuses_with_the_reasons() -> None:
    answer = answer_of(choose_step(steps_of((), ROUTE, 3), {3: Raised("NaN")}), None, "d")
    assert isinstance(answer, Refused)
    assert "champion (version 3): NaN" in answer.reason


def test_the_champion_serves_and_a_lower_rung_falls_back() -> None:
    score = Score(3, "x", 0.4)
    steps = steps_of(RUNGS, ROUTE, 3)
    assert answer_of(choose_step(steps, {}), score, "d") == Served(score)
    assert isinstance(answer_of(choose_step(steps, {3: Raised("NaN")}), score, "d"), FellBack)


DEPLOYMENT = compile_project(Project("p", [Deployment("d", unit="u", inputs=[Number("x", 0, 10)])])).deployment("d")


def test_a_request_within_the_contract_is_let_in_with_its_unit() -> None:
    assert admit(PredictionRequested("d", {"x": 1.0}), b"key", DEPLOYMENT, 0, 0) == Admitted("key")
    assert admit(PredictionRequested("d", {"x": 1.0}, "own"), b"key", DEPLOYMENT, 0, 0) == Admitted("own")


@pytest.mark.parametrize("x", [float("nan"), float("inf"), 10**400, 11, 1e39, "text", None])
def test_a_value_outside_the_contract_is_invalid_and_names_its_field(x: Any) -> None:
    found = admit(PredictionRequested("d", {"x": x}), b"k", DEPLOYMENT, 0, 0)
    assert isinstance(found, Invalid)
    assert found.field == "x"


def test_a_request_without_a_unit_is_invalid() -> None:
    assert isinstance(admit(PredictionRequested("d", {"x": 1.0}), None, DEPLOYMENT, 0, 0), Invalid)


def test_an_unknown_deployment_is_invalid() -> None:
    assert isinstance(admit(PredictionRequested("e", {}), b"k", None, 0, 0), Invalid)


def test_a_deadline_counts_from_the_append_time() -> None:
    request = PredictionRequested("d", {"x": 1.0}, deadline_ms=100)
    assert admit(request, b"k", DEPLOYMENT, appended_ms=1000, now_ms=1100) == Admitted("k")
    assert admit(request, b"k", DEPLOYMENT, appended_ms=1000, now_ms=1130) == Expired(30)


def test_a_repeated_id_finds_its_first_answer() -> None:
    answered = Answered()
    answered.remember("d", "r1", b"first", 0)
    answered.remember("d", "r1", b"second", 1)
    assert answered.find("d", "r1") == b"first"
    assert answered.find("e", "r1") is None


def test_the_window_of_repeats_forgets_the_oldest() -> None:
    answered = Answered(limit=2)
    for name in ("a", "b", "c"):
        answered.remember("d", name, b"", 0)
    assert len(answered) == 2
    assert answered.find("d", "a") is None


def test_the_window_of_repeats_ends_after_an_hour_too() -> None:
    answered = Answered()
    for minute, name in ((0, "a"), (30, "b"), (61, "c")):
        answered.remember("d", name, b"", minute * 60_000)
    assert [answered.find("d", name) for name in ("a", "b", "c")] == [None, b"", b""]


def test_the_window_of_repeats_ends_at_its_bytes_too_and_keeps_the_newest_answer() -> None:
    answered = Answered(limit_bytes=10_000)
    for number in range(100):
        answered.remember("d", str(number), b"x" * 1_000, 0)
    assert len(answered) == 7
    assert answered.bytes <= 10_000
    answered.remember("d", "big", b"x" * 60_000, 0)
    assert (len(answered), answered.find("d", "big")) == (1, b"x" * 60_000)


def test_a_full_window_forgets_without_walking_over_what_it_forgot() -> None:
    answered = Answered()
    for number in range(2 * WINDOW):
        answered.remember("d", str(number), b"", number)
    assert len(answered) == WINDOW
    assert answered.find("d", str(WINDOW - 1)) is None
    assert answered.find("d", str(WINDOW)) == b""


def test_what_was_decided_last_is_told_again_by_the_next_owner() -> None:
    untold = Untold()
    for at_ms, offset in ((0, 3), (1_000, 5), (2_500, 4), (2_600, 6)):
        untold.on_decision(at_ms, offset)
    assert untold.first(next_offset=7) == 4
    assert Untold().first(next_offset=7) == 7


ODD: list[Any] = [0.5, 1, -0.1, math.nan, math.inf, 10**30, 10**400, True, None, "", "0.5", "x" * 513]
SCALARS = st.sampled_from(ODD)
ASKED = st.fixed_dictionaries({"x": SCALARS, "y": SCALARS, "c": SCALARS}, optional={"z": SCALARS})
VOUCHED = compile_project(
    Project("p", [Deployment("d", unit="u", inputs=[Number("x", 0, 1), Number("y", nullable=True), Category("c")])])
).deployment("d")


@given(st.lists(ASKED, min_size=1, max_size=5))
def test_what_is_vouched_for_keeps_the_contract(asked: list[dict[str, Any]]) -> None:
    asked = asked * 4
    for inputs, kept in zip(asked, Contract(VOUCHED).vouches(asked), strict=True):
        request_ = PredictionRequested("d", inputs, "u")
        assert not kept or isinstance(admit(request_, None, VOUCHED, 0, 0), Admitted)


def test_ordinary_requests_are_vouched_for_beside_odd_ones() -> None:
    asked: list[dict[str, Any]] = [
        {"x": 0.5, "y": 2, "c": "AA"},
        {"x": 1.5, "y": 2, "c": "AA"},
        {"x": 10**400, "y": 2, "c": "AA"},
    ]
    assert Contract(VOUCHED).vouches(asked[:2] * 2) == [True, False, True, False]
    assert Contract(VOUCHED).vouches(asked * 2) == [False] * 6


@pytest.mark.parametrize(
    ("raw", "output", "fault"),
    [
        ([[0.4, 0.6]], "binary", None),
        ([0.4], "number", None),
        ([[0.2, 0.3, 0.5]], "classes", None),
        ([[0.2, 0.3, 0.5]], "binary", "3 classes"),
        ([[0.4, 0.6], [0.4, 0.6]], "binary", "shape"),
        ([0.4], "binary", "shape"),
        ([[0.4]], "number", "shape"),
        ([[math.nan, 0.6]], "binary", "NaN"),
        ([math.inf], "number", "NaN"),
        ([[-0.5, 1.5]], "binary", "outside"),
    ],
)
def test_a_result_that_must_not_be_served_is_a_fault(raw: list[float], output: str, fault: str | None) -> None:
    found = fault_of(np.array(raw), 1, output) or faults_of_rows(np.array(raw), output).get(0)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_scores_carry_the_version_and_its_digest() -> None:
    assert scores_of(np.array([[0.4, 0.6]]), "binary", 3, "dig") == [Score(3, "dig", 0.6)]
    assert scores_of(np.array([1.5]), "number", 3, "dig") == [Score(3, "dig", 1.5)]
    assert scores_of(np.array([[0.4, 0.6]]), "classes", 3, "dig") == [Score(3, "dig", None, (0.4, 0.6))]


def test_everything_that_a_route_names_is_loaded_champions_first() -> None:
    route = Route("d", {3: 1.0}, "s", 1, previous=2, baseline=1, shadows=(2,), warm=(4,))
    known = {("d", v) for v in (1, 2, 3, 4)}
    assert plan_loads([route], known, set(), set()).load == (("d", 3), ("d", 2), ("d", 1), ("d", 4))


def test_a_version_that_was_never_tried_goes_before_one_that_has_failed_and_a_champion_before_both() -> None:
    routes = [Route(name, {1: 1.0}, "s", 1, warm=(2,)) for name in "abc"]
    known = {(name, version) for name in "abc" for version in (1, 2)}
    plan = plan_loads(routes, known, {("c", 1)}, set(), {("a", 1): Tries(1), ("a", 2): Tries(1)})
    assert plan.load == (("b", 1), ("a", 1), ("b", 2), ("c", 2), ("a", 2))


def test_however_long_the_loads_that_fail_take_every_version_gets_its_turn_again_and_again() -> None:
    routes = [Route(name, {1: 1.0}, "s", 1, warm=(2,)) for name in "abc"]
    known = {(name, version) for name in "abc" for version in (1, 2)}
    tries: dict[tuple[str, int], Tries] = {}
    turns, now_s = [], 0.0
    for _ in range(200):
        load = plan_loads(routes, known, set(), set(), tries, now_s).load
        if not load:
            now_s = min(found.due_s for found in tries.values())
            continue
        turns.append(load[0])
        # NB: each takes longer than the longest wait between tries: whoever has failed is due again before the next one has ended.
        now_s += 10 * LONGEST_WAIT_S
        failed = tries.setdefault(load[0], Tries())
        failed.failures += 1
        failed.due_s = now_s + wait_s(failed.failures)
    assert turns[:3] == [("a", 1), ("b", 1), ("c", 1)]
    assert {turns[n : n + 12] == turns[n + 6 : n + 18] for n in range(50, 150)} == {True}
    assert set(turns[50:56]) == known


def test_a_refused_version_is_not_tried_again_and_an_unwanted_one_goes() -> None:
    plan = plan_loads([ROUTE], {("d", 3), ("d", 2)}, {("d", 9)}, {("d", 3)})
    assert plan.load == (("d", 2),)
    assert plan.unload == (("d", 9),)


def test_a_version_whose_columns_or_views_changed_does_not_fit() -> None:
    bare = Signature((ColumnPin("x"), ColumnPin("c", ())), "b", "views")
    assert misfit(Signature((ColumnPin("x"), ColumnPin("c", ("AA",))), "v", "views"), bare) is None
    assert misfit(Signature((ColumnPin("x"),), "v", "views"), bare) is not None
    assert misfit(Signature(bare.columns, "v", "other"), bare) is not None


class Event(Struct):
    """Something happened."""

    who: str
    at: float


def raw_project() -> tuple:
    async def transform(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            yield message

    raw, sources = RawStream("moves"), [Source(name, Event, "at", "who") for name in ("a", "b")]
    views = [FeatureView(f"v{s.name}", s, "who", {"n": Count("1h")}) for s in sources]
    pipe = Pipeline("pipe", raw, tuple(sources), transform)
    deployment = Deployment("d", unit="u", inputs=[Number("x")])
    project = compile_project(Project("p", [deployment], [raw], [pipe], sources, views))
    return project, Topics.load()


def test_a_raw_record_is_contained_when_every_shard_it_feeds_has_applied_it() -> None:
    project, topics = raw_project()
    place = "raw.moves.v1/0"
    origins = {("a", 0): 9, ("a", 1): 5, ("b", 0): 7, ("b", 1): 8}
    shards = {key: FeatureShardAdvanced(*key, {}, {place: offset}) for key, offset in origins.items()}
    assert contained([project], topics, shards) == {place: 5}
    del shards["b", 1]
    assert contained([project], topics, shards) == {}


def test_previous_and_baseline_are_rungs_that_users_declare() -> None:
    deployment = Deployment("d", unit="u", inputs=[Number("x")], ladder=[previous, baseline, prior(0.26)])
    assert compile_project(Project("p", [deployment])).deployment("d").ladder == RUNGS


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (PredictionRequested("d" * 600), b"k"),
        (PredictionRequested("d", {"x": 1.0}), b"k" * 600),
        (PredictionRequested("d", {"x": "1" * 600}), b"k"),
        (PredictionRequested("d", {"x" * 600: 1.0}), b"k"),
    ],
)
def test_texts_that_would_not_fit_into_a_decision_are_invalid(request_: PredictionRequested, key: bytes) -> None:
    found = admit(request_, key, DEPLOYMENT, 0, 0)
    assert isinstance(found, Invalid)
    assert "longer" in found.reason


@pytest.mark.parametrize("named", ["-1", "8", "x", "", "\u00b2", "9" * 5000])
def test_a_reply_partition_that_does_not_exist_gets_no_reply(named: str) -> None:
    assert reply_partition({REPLY_PARTITION: named.encode()}, 8) is None


def counted_picky(bad: set[float]) -> tuple[Any, list[int]]:
    """A model that raises on some values, and the sizes of the calls that it got."""
    sizes: list[int] = []

    def predict(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        if bad & set(rows[:, 0].tolist()):
            raise ValueError("unknown value")
        return rows[:, 0].astype(np.float64)

    return predict, sizes


@settings(deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=4))
def test_rows_that_a_model_cannot_stand_fail_alone(count: int, bad: set[int]) -> None:
    rows = np.arange(count, dtype=np.float32).reshape(-1, 1)
    hit = {row for row in bad if row < count}
    predict, sizes = counted_picky({float(row) for row in hit})
    raw, faults = predict_apart(predict, rows, lambda: True)
    if raw is None:
        assert len(hit) > 0
        assert len(faults) == count
        return
    assert hit <= set(faults)
    assert len(sizes) <= MAX_CALLS
    assert [raw[row] for row in range(count) if row not in faults] == [row for row in range(count) if row not in faults]
    assert np.isnan(raw[list(faults)]).all()


def test_one_bad_row_of_a_thousand_is_found_in_21_calls() -> None:
    predict, sizes = counted_picky({617.0})
    _, faults = predict_apart(predict, np.arange(1000, dtype=np.float32).reshape(-1, 1), lambda: True)
    assert (set(faults), len(sizes)) == ({617}, 21)


def test_a_model_on_which_everything_fails_is_not_asked_for_every_row() -> None:
    predict, sizes = counted_picky(set(map(float, range(1000))))
    raw, faults = predict_apart(predict, np.arange(1000, dtype=np.float32).reshape(-1, 1), lambda: True)
    assert raw is None
    assert set(faults.values()) == {Raised("predict raised ValueError: unknown value")}
    assert len(sizes) <= MAX_CALLS


def test_when_time_is_up_the_rows_not_cleared_fail() -> None:
    predict, sizes = counted_picky({0.0})
    left = iter([True, True])
    _, faults = predict_apart(predict, np.arange(8, dtype=np.float32).reshape(-1, 1), lambda: next(left, False))
    assert set(faults) == {0, 1, 2, 3}
    assert {type(failure) for failure in faults.values()} == {NoTime}
    assert len(sizes) == 3


def holed(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


def no_holes(rows: np.ndarray) -> np.ndarray:
    """A model that refuses NaN and infinity, as scikit-learn's do."""
    if not np.isfinite(rows).all():
        raise ValueError("Input contains NaN")
    return rows[:, 0].astype(np.float64)


def test_a_row_with_a_hole_that_the_model_does_not_take_is_unfit_and_names_its_column() -> None:
    raw, faults = predict_apart(no_holes, holed(1, math.nan, 2, math.inf), lambda: True, (ColumnPin("x"),))
    assert raw is not None
    assert [type(faults[row]) for row in (1, 3)] == [RowUnfit, RowUnfit]
    assert faults[1].field == "x"
    assert raw[[0, 2]].tolist() == [1.0, 2.0]


def test_a_row_with_a_hole_alone_is_unfit_too_since_the_model_stands_it_without() -> None:
    pace = Pace()
    predict_apart(no_holes, holed(1), lambda: True, pace=pace)
    _, faults = predict_apart(no_holes, holed(math.nan), lambda: True, pace=pace)
    assert isinstance(faults[0], RowUnfit)


def test_a_model_that_raises_on_everything_is_to_blame_for_rows_with_holes_as_well() -> None:
    pace = Pace()
    predict_apart(no_holes, holed(1), lambda: True, pace=pace)

    def broken(rows: np.ndarray) -> np.ndarray:
        raise ValueError("broken")

    _, faults = predict_apart(broken, holed(math.nan, 2), lambda: True, pace=pace)
    assert {type(failure) for failure in faults.values()} == {Raised}


def test_twenty_equal_bad_rows_are_found_like_one() -> None:
    predict, sizes = counted_picky({7.0})
    rows = np.array([7.0] * 20 + [float(n) for n in range(100, 200)], np.float32).reshape(-1, 1)
    raw, faults = predict_apart(predict, rows, lambda: True)
    assert set(faults) == set(range(20))
    assert len(sizes) < 20
    assert raw is not None
    assert raw[20:].tolist() == rows[20:, 0].tolist()


def loaded_after(*looks: tuple[float, float]) -> int:
    """The level after looks at the queue: (second, pressure)."""
    load = Load()
    for now_s, pressure in looks:
        load = on_pressure(load, pressure, now_s)
    return load.level


@pytest.mark.parametrize(
    ("looks", "level"),
    [
        ([(0, 0.24)], 0),
        ([(0, 0.25)], 1),
        ([(0, 0.40)], 2),
        ([(0, 0.55)], 3),
        ([(0, 0.9), (0.5, 0.0)], 3),
        ([(0, 0.9), (1.0, 0.0)], 2),
        ([(0, 0.9), (1.0, 0.0), (1.9, 0.0)], 2),
        ([(0, 0.9), (1.0, 0.0), (2.0, 0.0)], 1),
        ([(0, 0.9), (0.9, 0.3), (1.8, 0.0)], 3),
        ([(0, 0.3), (5, 0.2), (5.5, 0.0)], 1),
        ([(0, 0.3), (1, 0.0)], 0),
    ],
)
def test_levels_begin_at_once_and_end_one_by_one_when_it_is_calm(looks: list, level: int) -> None:
    assert loaded_after(*looks) == level


def test_only_requests_that_have_waited_are_refused_and_only_at_the_last_level() -> None:
    assert not is_refused(2, 0.9)
    assert not is_refused(3, 0.39)
    assert is_refused(3, 0.40)


def test_a_version_of_inputs_only_fits_whatever_becomes_of_the_views() -> None:
    bare = Signature((ColumnPin("x"), ColumnPin("v.mean")), "b", "views")
    assert misfit(Signature((ColumnPin("x"),), "v", ""), bare) is None
    assert misfit(Signature((ColumnPin("y"),), "v", ""), bare) is not None


class Slow:
    """A model that takes a second of its own clock per row, and raises on some."""

    def __init__(self, bad: set[float] | None = None) -> None:
        self.now_s, self.sizes, self.bad = 0.0, [], bad or set()

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.now_s += len(rows)
        self.sizes.append(len(rows))
        if self.bad & set(rows[:, 0].tolist()):
            raise ValueError("unknown")
        return rows[:, 0].astype(np.float64)

    def clock(self) -> float:
        return self.now_s


def test_a_slow_model_is_asked_in_portions_and_what_it_did_not_reach_in_time_is_told() -> None:
    model, rows = Slow(), np.arange(100, dtype=np.float32).reshape(-1, 1)
    found = predict_in_portions(model.predict, rows, Pace(1.0), model.clock, until_s=40.0)
    assert model.sizes == [16, 16, 16]
    assert found.unasked == tuple(range(48, 100))
    assert found.raw is not None
    assert found.raw[:48].tolist() == rows[:48, 0].tolist()


def test_a_portion_that_fails_whole_does_not_cost_the_next_one() -> None:
    model, rows = Slow(set(map(float, range(16)))), np.arange(32, dtype=np.float32).reshape(-1, 1)
    found = predict_in_portions(model.predict, rows, Pace(1.0), model.clock, until_s=1e9)
    assert set(found.faults) == set(range(16))
    assert found.raw is not None
    assert found.raw[16:].tolist() == rows[16:, 0].tolist()


def test_a_fast_model_gets_all_at_once() -> None:
    pace = Pace()
    assert pace.portion(1000) == 1000
    pace.note(1000, 0.01)
    assert pace.portion(1000) == 1000
    pace.note(1000, 1.0)
    assert 100 < pace.portion(1000) < 200
