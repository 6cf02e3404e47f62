"""Models that compute in float64, and rows of float32. A request with few digits is answered as the maker's model answers it, or refused."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, QuantileTransformer, StandardScaler
from tests.cases.imported import Served, compiled

from headrace.errors import Misconfigured
from headrace.models.engine import load
from headrace.project import Binary, Number
from headrace_cli.models.agreement import Declared
from headrace_cli.models.proofs import proven
from headrace_cli.models.samples import Requests

RNG = np.random.default_rng(5)
AGE = np.round(RNG.uniform(18, 90, 600), 1)
SPEND = np.where(RNG.random(600) < 0.2, np.nan, np.round(RNG.normal(100, 40, 600), 2))
FRAME = pd.DataFrame({"age": AGE, "spend": SPEND})
LATE = (AGE / 15 + RNG.normal(size=600) > 4).astype(int)
INPUTS = [Number("age", 0, 120), Number("spend", nullable=True)]
ASKED = [{name: None if value != value else value for name, value in row.items()} for row in FRAME.to_dict("records")]


def served(data: bytes, format: str = "skops", **declared: Any) -> Served:
    """As `headrace model register` does it, without `--sample`."""
    project, deployment = compiled(INPUTS, Binary("late", "1d"))
    agreed, golden = proven(data, format, load(data, format), project, deployment, Declared(**declared))
    assert golden
    return Served(data, format, agreed, deployment)


def notes_of(found: Served) -> str:
    return " ".join(found.agreed.notes)


def test_neighbours_that_tie_are_those_that_the_maker_found() -> None:
    """35.8 is midway between 35.7 and 35.9, and 35.79999924 is not: another neighbour was averaged, and a probability was off by 0.1."""
    model = make_pipeline(KNNImputer(n_neighbors=1), StandardScaler(), LogisticRegression()).fit(FRAME, LATE)
    found = served(skops.io.dumps(model))
    assert found.scores(ASKED) == pytest.approx(model.predict_proba(FRAME), abs=1e-6)
    assert found.signature.frame
    assert "float32 rows give other answers" in notes_of(found)


@pytest.mark.parametrize("rows", [FRAME, FRAME.to_numpy()], ids=["names", "matrix"])
def test_thresholds_on_what_people_write_are_met_as_the_maker_meets_them(rows: Any) -> None:
    """With many values a threshold equals one of them: 35.9 goes left of the threshold 35.9, and 35.90000153 does not."""
    model = HistGradientBoostingClassifier(max_iter=10).fit(rows, LATE)
    found = served(skops.io.dumps(model))
    assert found.scores(ASKED) == pytest.approx(model.predict_proba(rows), abs=1e-6)
    assert not found.signature.frame  # as fast as before


def test_so_are_those_of_lightgbm() -> None:
    """35.85 lies halfway between 35.8 and 35.9."""
    model = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(FRAME, LATE), 20)
    found = served(model.model_to_string().encode(), format="lightgbm")
    halfway = [{"age": round(age + 0.05, 2), "spend": 100.0} for age in AGE.tolist()]
    assert found.scores(halfway)[:, 1] == pytest.approx(model.predict(pd.DataFrame(halfway)), abs=1e-6)


def test_the_limits_of_bins_too() -> None:
    bins = KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf")
    model = make_pipeline(SimpleImputer(), bins, LogisticRegression()).fit(FRAME, LATE)
    assert served(skops.io.dumps(model)).scores(ASKED) == pytest.approx(model.predict_proba(FRAME), abs=1e-6)


def test_a_pipeline_that_float32_changes_takes_a_frame_by_itself_with_a_note() -> None:
    """Quantiles in float32 move neighbours: .604 where .356 would be served."""
    scaled = QuantileTransformer(n_quantiles=100)
    model = make_pipeline(SimpleImputer(), scaled, KNeighborsClassifier(7, weights="distance")).fit(FRAME, LATE)
    found = served(skops.io.dumps(model))
    assert found.scores(ASKED) == pytest.approx(model.predict_proba(FRAME), abs=1e-6)
    assert "(--frame)" in notes_of(found)


def test_what_rows_serve_with_the_makers_scores_stays_with_rows() -> None:
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(FRAME, LATE)
    found = served(skops.io.dumps(model))
    assert not found.signature.frame
    assert "frame" not in notes_of(found)


def test_digits_that_no_row_holds_are_refused_with_figures_that_differ() -> None:
    """A frame does not help, because the eighth digit is lost. The sent requests show the difference."""
    model = make_pipeline(FunctionTransformer(np.rint), SimpleImputer(), LogisticRegression()).fit(FRAME, LATE)
    sent = Requests([{"age": 36.5 + 2e-9 * n, "spend": 1.0} for n in range(1, 20)])
    with pytest.raises(Misconfigured, match=r"would be served wrongly.*rows are float32.*six digits") as refused:
        served(skops.io.dumps(model), requests=sent)
    own, would = (
        float(str(refused.value).partition(part)[2].split()[0].strip(";,")) for part in ("itself gives", "would give")
    )
    assert own != would
