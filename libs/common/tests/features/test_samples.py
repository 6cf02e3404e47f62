"""Requests that a contract allows: within the limits, the same for the same seed, with every value, and nulls only
where allowed.
"""

import numpy as np
import pytest

from headrace.features.rows import bare_signature, check_inputs, pin_signature
from headrace.features.samples import sample, sampled
from headrace.project import Category, Deployment, Key, Number, Project
from headrace.project.compile import compile_project

VOCABULARY = {"port": ["A", "B", "C"]}


def _sampled(*inputs: object, vocabulary: object = None, count: int = 200, seed: int = 0) -> tuple:
    project = compile_project(Project("p", [Deployment("d", unit="u", inputs=list(inputs))]))
    deployment = project.deployment("d")
    signature = pin_signature(project, deployment, vocabulary or {})
    return deployment, sample(deployment, signature, count, seed)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (None, None),
        (0, None),
        (None, -5),
        (1, 12),
        (0.7, 0.9),
        (0.1, 0.1),
        (-3.4e38, 3.4e38),
        (2**53, 2**53 + 4),
        (0, 1e-30),
    ],
)
def test_numbers_lie_within_their_limits_and_are_distinct_in_float32(low: float | None, high: float | None) -> None:
    deployment, found = _sampled(Number("x", low, high))
    assert [check_inputs(deployment, inputs) for inputs in found.inputs] == [None] * 200
    values = np.array([inputs["x"] for inputs in found.inputs])
    assert np.isfinite(found.rows).all()
    held = values.astype(np.float32).tolist()
    assert all(float(f"{value:.7g}") == value or value == seen for value, seen in zip(values, held, strict=True))
    limits = {limit for limit in (low, high) if limit is not None and abs(limit) < 2**24}
    assert limits <= set(values)


@pytest.mark.parametrize(("low", "high"), [(None, None), (0, None), (None, -5), (0, 120), (-1, 1)])
def test_many_numbers_have_one_decimal_or_two(low: float | None, high: float | None) -> None:
    """As people send them: 35.8, which a row holds as 35.79999924."""
    values = [inputs["x"] for inputs in _sampled(Number("x", low, high))[1].inputs]
    decimals = [0 if value == int(value) else len(repr(value).partition(".")[2]) for value in values]
    assert decimals.count(1) > 15
    assert decimals.count(2) > 15
    assert decimals.count(0) >= 100


def test_half_of_the_numbers_are_whole_where_the_limits_hold_any() -> None:
    _, found = _sampled(Number("month", 1, 12), Number("size"))
    whole = np.array([[value == int(value) for value in inputs.values()] for inputs in found.inputs])
    assert whole[1::2].all()
    assert {inputs["month"] for inputs in found.inputs[1::2]} == set(range(1, 13))
    assert whole[4::2, 0].mean() < 0.2


def test_every_known_value_occurs_and_unseen_ones_which_are_nan_in_the_row() -> None:
    _, found = _sampled(Category("port"), vocabulary=VOCABULARY)
    vocabulary = [inputs["port"] for inputs in found.inputs]
    assert set(VOCABULARY["port"]) < set(vocabulary)
    strange = np.array([value not in VOCABULARY["port"] for value in vocabulary])
    assert 5 < strange.sum() < 50
    assert np.isnan(found.rows[:, 0]).tolist() == strange.tolist()


def test_nulls_occur_only_where_allowed_and_leave_most_rows_complete() -> None:
    _, found = _sampled(
        Number("x", nullable=True), Number("y"), Category("port", nullable=True), Key("k"), vocabulary=VOCABULARY
    )
    rows = [[inputs["x"], inputs["y"], inputs["port"]] for inputs in found.inputs]
    assert {None in column for column in zip(*rows, strict=True)} == {True, False}
    assert all(row[1] is not None for row in rows)
    assert sum(None not in row for row in rows) > 140


def test_the_same_seed_draws_the_same_requests() -> None:
    inputs = (Number("x"), Category("port"), Key("k"))
    one, again, other = (_sampled(*inputs, vocabulary=VOCABULARY, seed=seed)[1].inputs for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_given_requests_become_the_rows_that_an_instance_makes() -> None:
    project = compile_project(Project("p", [Deployment("d", unit="u", inputs=[Number("x"), Category("port")])]))
    deployment = project.deployment("d")
    found = sampled(deployment, pin_signature(project, deployment, VOCABULARY), [{"x": 2, "port": "B"}])
    assert found.rows.tolist() == [[2.0, 1.0]]
    assert sampled(deployment, bare_signature(project, deployment), [{"x": 2, "port": None}]).rows[0, 0] == 2.0
