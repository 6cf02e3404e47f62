"""Numbers that an encoder was fitted on in float64 (0.1), and served rows in float32."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.tree import DecisionTreeRegressor
from tests.cases.imported import registered

from headrace.models.proving import Answering, Unproven, prove_file
from headrace.project import Binary, Number, Regression

DICE = np.random.default_rng(5)
RATES = DICE.choice([0.1, 0.2, 0.3, 0.7], 400)
SIZES = DICE.normal(size=400)
LATE = ((RATES == 0.3) | (SIZES > 1)).astype(int)
FRAME = pd.DataFrame({"rate": RATES, "size": SIZES})
ASKED = FRAME[:80].to_dict("records")
INPUTS = [Number("rate", 0, 1), Number("size")]
ENCODERS = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot-strict": OneHotEncoder(),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "target": TargetEncoder(random_state=0),
}


def encoded(encoder: Any, column: Any = "rate") -> Any:
    return make_pipeline(ColumnTransformer([("e", encoder, [column])], remainder="passthrough"), LogisticRegression())


def proven(data: bytes, inputs: Any = INPUTS) -> Any:
    served = registered(data, "skops", inputs, Binary("late", "1d"))
    answers = Answering(served.signature, "binary", 2, served.agreed.answers.places)
    return served, prove_file(data, "skops", served.deployment, answers)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_the_numbers_that_an_encoder_knows_are_known_as_rows_hold_them(name: str) -> None:
    model = encoded(ENCODERS[name]).fit(FRAME, LATE)
    served, golden = proven(skops.io.dumps(model))
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(FRAME[:80]), abs=1e-6)
    assert {found.inputs["rate"] for found in golden} >= {
        0.1,
        0.2,
        0.3,
        0.7,
    }  # it is checked with the values that it knows


def test_a_matrix_and_the_members_of_a_calibration_know_their_numbers_too() -> None:
    model = CalibratedClassifierCV(encoded(OneHotEncoder(handle_unknown="ignore"), 0), cv=3).fit(FRAME.to_numpy(), LATE)
    served, _ = proven(skops.io.dumps(model))
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(FRAME[:80].to_numpy()), abs=1e-6)


def test_numbers_that_rows_cannot_distinguish_are_refused() -> None:
    """Account numbers from 100,000,000 on. A float32 can represent every eighth of them."""
    accounts = 1e8 + DICE.integers(0, 64, 400)
    frame = pd.DataFrame({"rate": accounts, "size": SIZES})
    model = encoded(OneHotEncoder(handle_unknown="ignore")).fit(frame, accounts % 2 == 0)
    with pytest.raises(Unproven, match=r"would be served wrongly.*rows are float32"):
        proven(skops.io.dumps(model), [Number("rate"), Number("size")])


SECONDS = DICE.integers(1_600_000_000, 1_800_000_000, 400).astype(float)
CLOCK = [Number("at", 1.6e9, 1.8e9), Number("size")]
TIMES = pd.DataFrame({"at": SECONDS, "size": SIZES})


def test_a_model_that_needs_more_digits_than_rows_hold_is_refused() -> None:
    """The seconds of an hour, as seconds since 1970. A row can represent every 128th second."""
    model = make_pipeline(FunctionTransformer(np.sin), LinearRegression()).fit(TIMES, np.sin(SECONDS))
    served = registered(skops.io.dumps(model), "skops", CLOCK, Regression("y", -1, 1, "1d"))
    with pytest.raises(Unproven, match=r"of 200 rows.*'at'.*float32.*nearer"):
        prove_file(served.data, "skops", served.deployment, Answering(served.signature, "number"))


def test_a_model_that_needs_no_more_than_rows_hold_is_proven() -> None:
    """Large numbers alone are no fault: seconds in float32 still distinguish years."""
    model = DecisionTreeRegressor(max_depth=6).fit(TIMES, SECONDS // 3e7)
    served = registered(skops.io.dumps(model), "skops", CLOCK, Regression("y", 50, 60, "1d"))
    assert prove_file(served.data, "skops", served.deployment, Answering(served.signature, "number"))
