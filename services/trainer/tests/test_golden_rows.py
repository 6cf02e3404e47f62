"""Golden rows: what a fitted model says of rows that it saw, and of requests that its contract allows."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from headrace.events.registry import GoldenRow
from headrace.features.rows import pin_signature
from headrace.models import skops_format
from headrace.models.proving import Answering, Unproven
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_trainer.adapters.golden_rows import golden_rows_of
from headrace_trainer.core.target import Target

INPUTS = [Number("miles", 0, 100), Number("hour", 0, 23), Category("carrier")]
PROJECT = compile_project(Project("p", [Deployment("delay", unit="flight", inputs=INPUTS)]))
DELAY = PROJECT.deployment("delay")
SIGNATURE = pin_signature(PROJECT, DELAY, {"carrier": ["AA", "UA"]})
RNG = np.random.default_rng(0)
MATRIX = np.column_stack([RNG.uniform(0, 100, 500), RNG.integers(0, 24, 500), RNG.integers(0, 2, 500)]).astype("<f4")


def golden(model: Any, kind: str, classes: Iterable[str] = ()) -> tuple[GoldenRow, ...]:
    """Of a version of this kind."""
    target = Target(kind, tuple(classes))
    return golden_rows_of(model, DELAY, Answering(SIGNATURE, kind, len(target.classes)), target, MATRIX)


def test_golden_rows_are_what_the_model_says_of_rows_from_all_over_and_of_requests() -> None:
    model = LogisticRegression().fit(MATRIX, MATRIX[:, 0] > 50)
    found = golden(model, "binary")
    seen, drawn = ([g for g in found if (g.inputs is None) is known] for known in (True, False))
    assert (len(seen), len(drawn)) == (32, 32)
    assert seen[0].row == MATRIX[0].tobytes()
    assert drawn[0].inputs == {"miles": 0.0, "hour": 0.0, "carrier": drawn[0].inputs["carrier"]}
    rows = np.frombuffer(b"".join(one.row for one in found), "<f4").reshape(-1, 3)
    assert [one.value for one in found] == pytest.approx(model.predict_proba(rows)[:, 1].tolist(), abs=1e-12)


def test_golden_rows_of_several_classes_hold_a_share_of_each_and_those_of_a_number_the_number() -> None:
    model = LogisticRegression(max_iter=1000).fit(MATRIX, np.digitize(MATRIX[:, 0], [30, 60]))
    found = golden(model, "classes", "abc")
    assert found[0].probabilities == pytest.approx(model.predict_proba(MATRIX[:1])[0], abs=1e-12)
    number = HistGradientBoostingRegressor(max_iter=5).fit(MATRIX, MATRIX[:, 0] * 3)
    found = golden(number, "number")
    assert (found[0].value, found[0].probabilities) == (number.predict(MATRIX[:1])[0], ())


def test_a_model_whose_file_says_something_else_is_not_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = (LogisticRegression().fit(MATRIX, MATRIX[:, 0] > limit) for limit in (50, 60))
    monkeypatch.setattr("headrace_trainer.adapters.golden_rows.dump", lambda _: skops_format.dump(other))
    with pytest.raises(Unproven, match="rows would be served wrongly"):
        golden(model, "binary")


def test_golden_rows_are_made_by_the_file_as_an_instance_takes_it() -> None:
    filled = make_pipeline(
        SimpleImputer(), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), LogisticRegression()
    )
    matrix = np.where(MATRIX > 90, np.float32(0.1), MATRIX.round(1))
    model = CalibratedClassifierCV(filled, cv=3).fit(matrix, matrix[:, 0] > 50)
    found = golden(model, "binary")
    rows = np.frombuffer(b"".join(one.row for one in found), "<f4").reshape(-1, 3)
    assert [one.value for one in found] == pytest.approx(model.predict_proba(rows)[:, 1].tolist(), abs=1e-12)
