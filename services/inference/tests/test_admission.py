"""Which requests are let in: by contract, deadline and size."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.inference import (
    Expired,
    Invalid,
    PredictionRequested,
)
from headrace.project import (
    Category,
    Deployment,
    Number,
    Project,
)
from headrace.project.compile import compile_project
from headrace_inference.core.admission import LetIn, admit
from headrace_inference.core.contract import Contract

DEPLOYMENT = compile_project(Project("p", [Deployment("d", unit="u", inputs=[Number("x", 0, 10)])])).deployment("d")


def test_a_request_within_the_contract_is_let_in_with_its_unit() -> None:
    assert admit(PredictionRequested("d", {"x": 1.0}), b"key", DEPLOYMENT, 0, 0) == LetIn("key")
    assert admit(PredictionRequested("d", {"x": 1.0}, "own"), b"key", DEPLOYMENT, 0, 0) == LetIn("own")


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
    assert admit(request, b"k", DEPLOYMENT, appended_ms=1000, now_ms=1100) == LetIn("k")
    assert admit(request, b"k", DEPLOYMENT, appended_ms=1000, now_ms=1130) == Expired(30)


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
        assert not kept or isinstance(admit(request_, None, VOUCHED, 0, 0), LetIn)


def test_ordinary_requests_are_vouched_for_beside_odd_ones() -> None:
    asked: list[dict[str, Any]] = [
        {"x": 0.5, "y": 2, "c": "AA"},
        {"x": 1.5, "y": 2, "c": "AA"},
        {"x": 10**400, "y": 2, "c": "AA"},
    ]
    assert Contract(VOUCHED).vouches(asked[:2] * 2) == [True, False, True, False]
    assert Contract(VOUCHED).vouches(asked * 2) == [False] * 6


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
