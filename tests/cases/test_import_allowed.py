"""Which estimators are served as data, and which crafted files are refused before they are asked."""

from typing import Any

import numpy as np
import pytest
import skops.io
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler
from tests.cases.answering_models import AMOUNT, ASKED, FLAG, INPUTS, ROWS, skops_of
from tests.cases.imported import registered

from headrace.errors import Poison
from headrace.models.engine import load


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(),
        KNeighborsClassifier(algorithm="ball_tree", weights="distance"),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scoring="roc_auc"),
        make_pipeline(SelectKBest(k=2), LogisticRegression()),
        make_pipeline(SplineTransformer(), LogisticRegression()),
        GaussianProcessClassifier(),
    ],
)
def test_ordinary_classifiers_are_served(model: Any) -> None:
    served = registered(skops_of(model, FLAG), "skops", INPUTS)
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-9)


FILLED = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(FILLED, cv=3),
        CalibratedClassifierCV(FILLED, cv=3, ensemble=False),
        BaggingClassifier(FILLED, 3),
        OneVsRestClassifier(FILLED),
        GridSearchCV(FILLED, {"logisticregression__C": [0.1, 1.0]}),
        FixedThresholdClassifier(FILLED, threshold=0.3),
        TunedThresholdClassifierCV(FILLED),
        StackingClassifier([("a", FILLED)]),
        VotingClassifier([("a", FILLED)], voting="soft"),
    ],
)
def test_a_pipeline_inside_of_another_estimator_is_served(model: Any) -> None:
    served = registered(skops_of(model, FLAG), "skops", INPUTS)
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40]), abs=1e-9)


@pytest.mark.parametrize("model", [KNeighborsRegressor(), GaussianProcessRegressor()])
def test_ordinary_regressors_are_served(model: Any) -> None:
    served = registered(skops_of(model, AMOUNT), "skops", INPUTS)
    assert served.scores(ASKED) == pytest.approx(model.predict(ROWS[:40]), abs=1e-9)


def own_scaling(rows: Any) -> Any:
    return rows * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_pipeline(FunctionTransformer(own_scaling), LogisticRegression()), "your own code is never loaded"),
        (xgboost.XGBClassifier(n_estimators=2), "save the booster alone, in its library's own format"),
        (
            GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring=own_scaling, error_score=0),
            "`best_estimator_` alone",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_on_the_list_names_the_way_out(model: Any, message: str) -> None:
    with pytest.raises(Poison, match=message):
        load(skops_of(model, FLAG), "skops")


def crafted(model: Any, change: Any) -> bytes:
    """A file whose arrays were changed after it was saved."""
    model.fit(ROWS, FLAG)
    change(model)
    return skops.io.dumps(model)


def point_outside(model: Any) -> None:
    state = list(model._tree.__getstate__())
    state[1] = np.where(np.arange(len(state[1])) == 7, 10**9, state[1])
    model._tree.__setstate__(tuple(state))


def vote_outside(model: Any) -> None:
    model._y = model._y + 7


def cut_knots(model: Any) -> None:
    for spline in model.steps[0][1].bsplines_:
        spline.__dict__["_c"] = spline.__dict__["_c"][:1]


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (KNeighborsClassifier(), point_outside, "search tree that points outside of its points"),
        (KNeighborsClassifier(algorithm="brute"), vote_outside, "votes outside of its 2 classes"),
        (make_pipeline(SplineTransformer(), LogisticRegression()), cut_knots, "spline of 1 coefficients"),
    ],
)
def test_crafted_arrays_are_refused_before_they_are_asked(model: Any, change: Any, message: str) -> None:
    with pytest.raises(Poison, match=message):
        load(crafted(model, change), "skops")
