"""A booster's tree that points outside of its arrays is refused by name, before a row takes that branch."""

import json
import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from headrace.errors import Poison
from headrace.models import lightgbm_format, xgboost_format

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(600, 4)).astype(np.float32)
ROWS[:, 3] = np.arange(600) % 7
LABELS = ((ROWS[:, 0] * ROWS[:, 1] > 0) ^ (ROWS[:, 3] > 4)).astype(int)


def by_xgboost(**more: Any) -> dict[str, Any]:
    matrix = xgboost.DMatrix(ROWS, LABELS, feature_types=["q", "q", "q", "c"], enable_categorical=True)
    parameters = {"objective": "binary:logistic", "nthread": 1, "max_depth": 4, "max_cat_to_onehot": 1, **more}
    return json.loads(bytes(xgboost.train(parameters, matrix, 4).save_raw("json")))


def by_lightgbm() -> str:
    parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1, "min_data_per_group": 1, "cat_smooth": 1}
    dataset = lightgbm.Dataset(ROWS, LABELS, categorical_feature=[3])
    return lightgbm.train(parameters, dataset, 4).model_to_string()


@pytest.mark.parametrize("more", [{}, {"booster": "dart"}, {"gamma": 2.0, "tree_method": "exact", "max_depth": 6}])
def test_what_xgboost_grows_is_let_in(more: dict[str, Any]) -> None:
    if more.get("tree_method") == "exact":  # which knows no categories, and prunes
        booster = xgboost.train(
            {"objective": "binary:logistic", "nthread": 1, **more}, xgboost.DMatrix(ROWS, LABELS), 4
        )
        xgboost_format.engine(bytes(booster.save_raw("ubj")))
        return
    found = by_xgboost(**more)
    xgboost_format.engine(json.dumps(found).encode())


def test_what_lightgbm_grows_is_let_in_categories_and_all() -> None:
    text = by_lightgbm()
    assert re.search(r"num_cat=[1-9]", text)
    lightgbm_format.engine(text.encode())


def change(name: str, place: int, value: int) -> Callable[[dict[str, Any]], None]:
    def work(tree: dict[str, Any]) -> None:
        tree[name][place] = value

    return work


@pytest.mark.parametrize(
    "harm",
    [
        change("left_children", 0, 10**6),
        change("right_children", 1, 0),
        change("right_children", 1, 1),
        change("split_indices", 0, 1000),
        change("categories_segments", 0, 10**6),
        change("categories_sizes", 0, 10**6),
        change("categories_nodes", 0, 10**6),
    ],
)
def test_a_wild_tree_of_xgboost_is_refused(harm: Callable[[dict[str, Any]], None]) -> None:
    found = by_xgboost()
    trees = found["learner"]["gradient_booster"]["model"]["trees"]
    harm(next(tree for tree in trees if tree["categories_nodes"] and tree["left_children"][1] != -1))
    with pytest.raises(Poison):
        xgboost_format.engine(json.dumps(found).encode())


def recut(text: str) -> str:
    """With the sizes of its trees as they are now."""
    blocks = text[: text.index("\nend of trees")].split("\nTree=")[1:]
    sizes = " ".join(str(len(f"Tree={block}\n".encode())) for block in blocks)
    return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left_child", "1000000"),
        ("left_child", "0"),
        ("right_child", "-1000000"),
        ("split_feature", "1000"),
        ("split_feature", "-1"),
        ("cat_boundaries", "1000000"),
        ("num_leaves", "1000000"),
    ],
)
def test_a_wild_tree_of_lightgbm_is_refused(name: str, value: str) -> None:
    text = by_lightgbm()
    changed = recut(re.sub(rf"\n{name}=(-?\d+)", f"\n{name}={value}", text, count=1))
    assert changed != text
    with pytest.raises(Poison):
        lightgbm_format.engine(changed.encode())


def test_a_file_of_lightgbm_whose_trees_are_cut_elsewhere_is_refused() -> None:
    text = re.sub(r"tree_sizes=(\d+)", "tree_sizes=7", by_lightgbm(), count=1)
    with pytest.raises(Poison, match="cut into trees"):
        lightgbm_format.engine(text.encode())
