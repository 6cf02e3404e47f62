"""Case 12 and its class: wherever a row is made, checks apply to the number that the model receives."""

import math
import warnings
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Invalid, PredictionRequested
from headrace.features.dataset import Gathered, Inputs
from headrace.features.entities import entity_key, named_by
from headrace.features.precision import LARGEST, seen
from headrace.features.rows import RowMaker, check_inputs, entities_of, pin_signature
from headrace.log.topics import Topics
from headrace.project import Category, Deployment, Derived, FeatureView, Key, Mean, Number, Project, Source, Sum
from headrace.project.compile import compile_project
from headrace_inference.core.contract import Contract
from headrace_inference.core.rows import Rows


class Paid(msgspec.Struct):
    at: float
    user: int
    amount: float


PAID = Source("paid", event=Paid, event_time="at", key="user")
USER = FeatureView("user", PAID, "user", {"mean": Mean("amount", "3h", default=5.0), "sum": Sum("amount", "3h")})
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Number("x", nullable=True), Category("c", nullable=True), Key("user")],
                [USER.by("user")],
                derived=[Derived("square", lambda r: r.x * r.x), Derived("twice", lambda r: r["user.sum"] * 2.0)],
            )
        ],
        sources=[PAID],
        views=[USER],
    )
)
DEPLOYMENT = PROJECT.deployments[0]
SIGNATURE = pin_signature(PROJECT, DEPLOYMENT, {"c": ("a", "b")})


def limited(low: float | None, high: float | None) -> DeploymentDefinition:
    return compile_project(Project("p", [Deployment("d", "u", [Number("x", low, high)])])).deployments[0]


def keeps(deployment: DeploymentDefinition, value: Any) -> bool:
    """The rule for one request. The rule for many may not accept what this one refuses."""
    found = check_inputs(deployment, {"x": value})
    assert found is None or (isinstance(found, Invalid) and found.field == "x" and found.reason.startswith("x must be"))
    vouched = Contract(deployment).vouches([{"x": value}] * 4)
    assert vouched in ([False] * 4, [True] * 4)
    assert not vouched[0] or found is None
    assert vouched[0] == (found is None) or type(value) is bool or abs(value) > LARGEST
    return found is None


FLOAT_01 = float(np.float32(0.1))
ABOVE_01 = float(np.nextafter(np.float32(0.1), np.float32(1)))


@pytest.mark.parametrize(
    ("low", "high", "value", "fits"),
    [
        (None, 0.1, 0.1, True),
        (None, 0.1, FLOAT_01, True),  # 0.1 in a float32 column or an FP32 tensor, which is above 0.1
        (None, 0.1, ABOVE_01, False),
        (0.1, None, 0.1, True),
        (0.7, None, float(np.float32(0.7)), True),  # below 0.7
        (0.7, None, float(np.nextafter(np.float32(0.7), np.float32(0))), False),
        (None, FLOAT_01, 0.1, True),
        (0, 1, 1 + 1e-9, True),  # the model sees 1
        (0, 1, 1 + 1e-6, False),
        (0, 16_777_216, 16_777_217, True),  # float32 has no such number: the model sees 16777216
        (0, 16_777_216, 16_777_218, False),
        (None, None, LARGEST, True),
        (None, None, 3.4028235677e38, True),  # nearest to the largest
        (None, None, 3.4028236e38, False),  # nearest to an infinity
        (None, None, 1e39, False),
        (None, None, -1e39, False),
        (None, None, 10**39, False),
        (None, None, 10**400, False),
        (None, None, math.inf, False),
        (None, None, math.nan, False),
        (None, None, 1e-60, True),  # the model sees 0
        (0, None, -1e-60, True),
        (0, None, -1e-40, False),
        (0, 1, True, True),
    ],
)
def test_a_limit_is_compared_in_the_precision_that_the_model_sees(
    low: float | None, high: float | None, value: Any, fits: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert keeps(limited(low, high), value) == fits


def test_a_refusal_shows_a_value_that_would_read_like_its_limit_in_full() -> None:
    found = check_inputs(limited(0, 1), {"x": 1 + 1e-7})
    assert found == Invalid("x must be at most 1, got 1.0000001", "x")


NUMBERS = st.one_of(
    st.floats(allow_nan=False), st.floats(width=32, allow_nan=False), st.integers(-(2**70), 2**70), st.just(FLOAT_01)
)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_what_is_let_in_is_a_finite_float32_within_the_limits_as_float32(a: float, b: float, value: float) -> None:
    low, high = sorted(limit for limit in (a, b) if math.isfinite(limit)) if math.isfinite(a + b) else (0.1, 0.7)
    deployment = limited(None, None)
    field = msgspec.structs.replace(deployment.inputs[0], low=float(low), high=float(high))
    deployment = msgspec.structs.replace(deployment, inputs=(field,))
    with np.errstate(over="ignore"):
        number, lowest, highest = (np.float32(float(v)) for v in (value, low, high))
    assert keeps(deployment, value) == bool(np.isfinite(number) and lowest <= number <= highest)
    if keeps(deployment, value):
        (row,) = RowMaker(deployment, pin_signature(PROJECT, deployment, {})).rows([{"x": value}], np.empty((1, 0)))
        assert row.tolist() == [seen(value)]


def test_no_row_holds_an_infinity_and_what_is_too_large_is_missing() -> None:
    inputs = [{"x": 1e30, "c": "a", "user": 7}, {"x": 2.0, "c": "?", "user": 8}, {"x": None, "c": None, "user": 9}]
    features = np.array([[1e39, 3e38], [-1e300, -1e39], [math.nan, math.inf]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = RowMaker(DEPLOYMENT, SIGNATURE).rows(inputs, features)
    named = [dict(zip([c.name for c in SIGNATURE.columns], row, strict=True)) for row in rows.tolist()]
    nan = pytest.approx(math.nan, nan_ok=True)
    assert named == [
        {"x": seen(1e30), "c": 0.0, "square": nan, "twice": nan, "user.mean": 5.0, "user.sum": seen(3e38)},
        {"x": 2.0, "c": nan, "square": 4.0, "twice": nan, "user.mean": 5.0, "user.sum": nan},
        {"x": nan, "c": nan, "square": nan, "twice": nan, "user.mean": 5.0, "user.sum": nan},
    ]


def test_a_feature_that_is_too_large_counts_as_missing() -> None:
    rows = Rows(PROJECT, DEPLOYMENT)
    assert rows.missing(np.array([1e39, 3.0])) == ("user.mean",)
    assert rows.missing(np.array([1.0, -math.inf])) == ("user.sum",)
    assert rows.missing(np.array([1.0, 3.4e38])) == ()


def test_training_and_serving_make_the_same_row_of_what_overflows() -> None:
    gathered = Gathered(PROJECT, DEPLOYMENT, Topics.load(), 0.0, 1e6, 1e6)
    table = gathered.tables[gathered.topics.of_source("paid")]
    for offset, amount in enumerate([3e38, 3e38]):
        table.add(Paid(1000.0, 7, amount), 0, offset)
    inputs = {"x": 1.0, "c": "a", "user": "7"}
    entity = entities_of(DEPLOYMENT, inputs)["user"]
    gathered.request("r", 5000.0, "u", PredictionRequested("d", inputs))
    trained = gathered.rows({})
    served = RowMaker(DEPLOYMENT, SIGNATURE).rows([inputs], trained.features)
    assert entity == "7"
    assert trained.features.tolist() == [[3e38, 6e38]]
    assert trained.matrix(DEPLOYMENT, SIGNATURE).tobytes() == served.tobytes()
    assert np.isnan(served[0][-1])
    assert not np.isinf(served).any()


@pytest.mark.parametrize("user", [7, 7.0, "7", "7.0"])
def test_a_key_may_be_a_number_and_names_what_its_field_means(user: Any) -> None:
    inputs = {"x": 1.0, "c": "a", "user": user}
    assert check_inputs(DEPLOYMENT, inputs) is None
    assert entities_of(DEPLOYMENT, inputs) == {"user": "7"}


@pytest.mark.parametrize("user", [math.nan, math.inf])
def test_a_key_that_is_no_value_is_invalid_and_named(user: float) -> None:
    assert check_inputs(DEPLOYMENT, {"x": 1.0, "c": "a", "user": user}) == Invalid(
        "user must be text or a finite number", "user"
    )


def test_a_number_that_names_an_entity_keeps_its_name_in_a_dataset_however_large() -> None:
    by_number = compile_project(
        Project("p", [Deployment("d", "u", [Number("user")], [USER.by("user")])], sources=[PAID], views=[USER])
    ).deployments[0]
    inputs, asked = Inputs(by_number), [7, 7.0, 2**53 + 1, 2**53, float(2**60), 2**60, 2**60 + 1, -(2**53) - 1]
    for value in asked:
        inputs.add({"user": value})
    assert [entities_of(by_number, row) for row in inputs] == [entities_of(by_number, {"user": v}) for v in asked]
    assert [row["user"] for row in inputs[2:5]] == [row["user"] for row in inputs.taken([2, 3, 4])] == asked[2:5]
    assert list(inputs.column("user")) == asked
    assert inputs[-1] == {"user": -(2**53) - 1}


def test_a_key_in_a_derived_column_is_compared_as_text() -> None:
    deployment = compile_project(
        Project("p", [Deployment("d", "u", [Key("shop")], derived=[Derived("ours", lambda r: r.shop == "7")])])
    ).deployments[0]
    maker = RowMaker(deployment, pin_signature(PROJECT, deployment, {}))
    rows = maker.rows([{"shop": v} for v in ("7", 7, 7.0, "8", 8, None)], np.empty((6, 0)))
    assert rows.ravel().tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


PARTS = st.lists(st.text("a|\\7.", max_size=5), min_size=1, max_size=3)


@given(PARTS)
def test_an_entity_that_is_shown_can_be_asked_for(parts: list[str]) -> None:
    kinds = ["text"] * len(parts)
    entity = entity_key(kinds, parts)
    assert named_by(kinds, entity or "") == entity


@pytest.mark.parametrize(
    ("kinds", "typed", "entity"),
    [
        (["integer"], "7.0", "7"),
        (["number"], "7", "7.0"),
        (["flag"], "true", "True"),
        (["text", "integer"], "JFK|7.0", "JFK|7"),
        (["text", "text"], "a\\|b|c", "a\\|b|c"),
        (["text"], "a|b", "a|b"),
        (["text", "text"], "a", None),
        (["text", "text"], "a|b|c", None),
        (["text", "text"], "a|b\\", "a|b\\\\"),
    ],
)
def test_what_a_person_types_names_an_entity_as_a_request_does(
    kinds: list[str], typed: str, entity: str | None
) -> None:
    assert named_by(kinds, typed) == entity
