"""Trees whose innermost estimator claims more columns than the ensemble passes on, and models in which it may have
more.
"""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from headrace.errors import Poison
from headrace.models.trees import refuse_wild_trees

X, Y = load_iris(return_X_y=True)
WIDE = 200_000_001


def widened(estimator: Any) -> None:
    """The model unchanged, except that it claims so many columns: a node may then use any of them."""
    tree = estimator.tree_
    wide = Tree(WIDE, np.array(tree.n_classes, dtype=np.intp), tree.n_outputs)
    wide.__setstate__(tree.__getstate__())
    estimator.tree_, estimator.n_features_in_ = wide, WIDE


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(3, max_depth=2),
        ExtraTreesRegressor(3, max_depth=2),
        GradientBoostingClassifier(n_estimators=3),
        IsolationForest(n_estimators=3),
        BaggingClassifier(n_estimators=3),
        AdaBoostClassifier(n_estimators=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_member_of_an_ensemble_that_claims_more_columns_than_that_has_is_refused(model: Any) -> None:
    model.fit(X, Y)
    refuse_wild_trees(model)
    widened(np.ravel(model.estimators_)[1])
    with pytest.raises(Poison, match="a tree of 200000001 columns in an ensemble of 4"):
        refuse_wild_trees(make_pipeline(model))


@pytest.mark.parametrize(
    "model",
    [
        BaggingClassifier(make_pipeline(PolynomialFeatures(), DecisionTreeClassifier()), n_estimators=2),
        BaggingClassifier(DecisionTreeClassifier(), n_estimators=2, max_features=2),
        make_pipeline(PolynomialFeatures(), RandomForestClassifier(2)),
        StackingClassifier([("a", DecisionTreeClassifier())], RandomForestClassifier(2), passthrough=True),
        VotingClassifier([("a", make_pipeline(PolynomialFeatures(), GradientBoostingClassifier(n_estimators=2)))]),
        AdaBoostClassifier(DecisionTreeClassifier(), n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2),
        LogisticRegression(max_iter=1000),
    ],
    ids=lambda model: type(model).__name__,
)
def test_members_that_get_other_columns_than_the_ensemble_pass(model: Any) -> None:
    refuse_wild_trees(model.fit(X, Y))


def test_a_chain_whose_members_see_the_answers_of_those_before_passes() -> None:
    chain = ClassifierChain(DecisionTreeClassifier()).fit(X, np.stack([Y > 0, Y > 1], axis=1))
    refuse_wild_trees(chain)


def test_histogram_boosting_that_claims_more_columns_than_it_has_thresholds_for_is_refused() -> None:
    rounded = np.column_stack([X[:, :3], X[:, 3].round()])
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features=[3]).fit(rounded, Y)
    refuse_wild_trees(model)
    nodes = model._predictors[0][0].nodes
    inner = int(np.flatnonzero(nodes["is_leaf"] == 0)[0])
    nodes[inner]["feature_idx"], model.n_features_in_ = WIDE - 1, WIDE
    with pytest.raises(Poison, match="asks for a column outside of its 4"):
        refuse_wild_trees(make_pipeline(model))
