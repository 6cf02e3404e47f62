"""A booster's file is refused when one of its trees leaves its own arrays on any branch; ordinary files are loaded."""

import json
import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from headrace.errors import Poison
from headrace.models import engine

ROWS = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
ROWS[:, 1] = np.arange(400) % 40
LABELS = ((ROWS[:, 0] > 0) ^ (ROWS[:, 1] % 3 == 0)).astype(int)
# The walk reaches the third node for a value from 12,345 to 12,346 only: no trial asks such a row.
NARROW = 12345.0, 12346.0


def of_xgboost(change: Callable[[dict[str, Any]], None]) -> bytes:
    parameters = {"objective": "binary:logistic", "max_depth": 6, "min_child_weight": 0, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(ROWS, LABELS), 1)
    found = json.loads(bytes(booster.save_raw("json")))
    tree = found["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["last"] = max(node for node, child in enumerate(tree["left_children"]) if child != -1)
    change(tree)
    return json.dumps(found).encode()


def of_lightgbm(**lines: str) -> bytes:
    parameters = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    text = lightgbm.train(parameters, lightgbm.Dataset(ROWS, LABELS), 1).model_to_string()
    narrow = {
        "split_feature": "0 0 0",
        "threshold": f"{NARROW[0]} {NARROW[1]} 0",
        "left_child": "-1 2 -3",
        "right_child": "1 -2 -4",
    }
    for name, line in (narrow | lines).items():
        text = re.sub(rf"^{name}=.*$", f"{name}={line}", text, count=1, flags=re.MULTILINE)
    return re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE).encode()


def asks_for_a_column_outside(tree: dict[str, Any]) -> None:
    tree["split_indices"][tree["last"]] = 900_000_000


def asks_for_a_column_beside(tree: dict[str, Any]) -> None:
    tree["split_indices"][tree["last"]] = 2


def test_an_xgboost_tree_that_asks_for_a_column_outside_on_its_last_branch_is_refused() -> None:
    for change in (asks_for_a_column_outside, asks_for_a_column_beside):
        with pytest.raises(Poison, match="a column outside of its 2"):
            engine.load(of_xgboost(change), "xgboost")


@pytest.mark.parametrize(
    "lines",
    [
        {"left_child": "-1 90000000 -3"},
        {"left_child": "-1 -90000000 -3"},
        {"left_child": "-1 2 1"},
        {"left_child": "-1 2 2", "right_child": "1 -2 2"},
        {"left_child": "-1 2 -5"},
    ],
)
def test_a_lightgbm_tree_that_points_outside_or_back_on_one_narrow_branch_is_refused(lines: dict[str, str]) -> None:
    with pytest.raises(Poison, match="point outside of it, or back"):
        engine.load(of_lightgbm(**lines), "lightgbm")


def test_a_lightgbm_tree_by_categories_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(Poison, match="categories lie outside"):
        engine.load(of_lightgbm(decision_type="2 2 1", threshold="12345 12346 7"), "lightgbm")


def test_a_lightgbm_file_with_more_trees_a_round_than_classes_is_refused() -> None:
    with pytest.raises(Poison, match="trees a round"):
        engine.load(of_lightgbm(num_class="2"), "lightgbm")


@pytest.mark.parametrize(
    "parameters",
    [
        {"booster": "gbtree"},
        {"booster": "dart", "rate_drop": 0.3},
        {"booster": "gblinear"},
        {"objective": "multi:softprob", "num_class": 2, "num_parallel_tree": 2},
        {"tree_method": "exact", "gamma": 5},
        {"grow_policy": "lossguide", "max_leaves": 9},
        {"max_cat_to_onehot": 1},
    ],
)
def test_ordinary_xgboost_models_of_every_kind_are_loaded(parameters: dict[str, Any]) -> None:
    matrix = xgboost.DMatrix(ROWS, LABELS, feature_types=["q", "c"] if "max_cat_to_onehot" in parameters else None)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1, **parameters}, matrix, 5)
    for format in ("json", "ubj"):
        loaded = engine.load(bytes(booster.save_raw(format)), "xgboost")
        assert loaded.predict(ROWS, loaded.output).shape == (400, 2)


@pytest.mark.parametrize(
    ("parameters", "categories"),
    [
        ({"objective": "multiclass", "num_class": 2}, None),
        ({"objective": "multiclassova", "num_class": 2}, None),
        ({"objective": "binary", "cat_smooth": 1, "min_data_per_group": 1}, [1]),
        ({"objective": "binary", "boosting": "dart"}, None),
        ({"objective": "binary", "min_data_in_leaf": 399}, None),
        ({"objective": "cross_entropy", "linear_tree": True}, None),
    ],
)
def test_ordinary_lightgbm_models_of_every_kind_are_loaded(
    parameters: dict[str, Any], categories: list[int] | None
) -> None:
    parameters = {"verbosity": -1, "num_threads": 1, **parameters}
    data = lightgbm.Dataset(ROWS, LABELS, categorical_feature=categories or [], params=parameters)
    loaded = engine.load(lightgbm.train(parameters, data, 5).model_to_string().encode(), "lightgbm")
    assert loaded.predict(ROWS, loaded.output).shape == (400, 2)
