"""Whether the trees of XGBoost and LightGBM files stay inside their own arrays: the rule of `headrace.models.trees` for
both.

The check reads what the library holds after loading, written out by the library, since two readers of a file may
differ. A load check would only find a bad node if one of its rows took that branch; in service, the first request that
takes it would. (ONNX Runtime checks children and columns itself.)
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.models.trees import refuse_columns

_OUTSIDE = "artifact holds a tree whose nodes point outside of it, or back"
_CATEGORICAL = 1


def refuse_wild_xgboost(saved: bytes, columns: int) -> None:
    """Raise `Poison` when a tree of a booster, written by `save_raw("json")`, points outside of its arrays, or back."""
    learner = json.loads(saved)["learner"]
    booster = learner["gradient_booster"]
    groups = max(1, int(learner["learner_model_param"]["num_class"]), int(learner["learner_model_param"]["num_target"]))
    model = booster.get("gbtree", booster)["model"]
    if "weights" in model:
        _same("a linear model's weights", len(model["weights"]), (columns + 1) * groups)
        return
    trees = model["trees"]
    _same("the trees' groups", len(model["tree_info"]), len(trees))
    if any(not 0 <= group < groups for group in model["tree_info"]):
        raise Poison(f"artifact holds a tree of a class outside of its {groups}")
    rounds = model.get("iteration_indptr", [0, len(trees)])
    if rounds[0] != 0 or rounds[-1] != len(trees) or any(np.diff(rounds) < 0):
        raise Poison(f"artifact's rounds do not add up to its {len(trees)} trees")
    if "weight_drop" in booster:
        _same("the trees' weights", len(booster["weight_drop"]), len(trees))
    for tree in trees:
        _check_xgboost_tree(tree, columns)


def _check_xgboost_tree(tree: Mapping[str, Any], columns: int) -> None:
    left, right = _whole(tree["left_children"]), _whole(tree["right_children"])
    count = len(left)
    for name in ("right_children", "split_indices", "split_conditions", "default_left"):
        _same(name, len(tree[name]), count)
    inner = _reached(left, right, lambda children: children != -1)
    refuse_columns(_whole(tree["split_indices"])[inner], columns)
    sizes, starts = _whole(tree.get("categories_sizes", ())), _whole(tree.get("categories_segments", ()))
    _same("the categories' places", len(starts), len(sizes))
    if np.any((starts < 0) | (sizes < 0) | (starts + sizes > len(tree.get("categories", ())))):
        raise Poison("artifact holds a tree whose categories lie outside of its arrays")


def refuse_wild_lightgbm(saved: str, columns: int, classes: int) -> None:
    """Raise `Poison` when a tree of a booster, written by `model_to_string()`, points outside of its arrays, or back."""
    head, *trees = saved.split("end of trees")[0].split("\nTree=")
    head_pairs = _pairs(head)
    if (
        head_pairs.get("num_class") != head_pairs.get("num_tree_per_iteration")
        or int(head_pairs.get("num_class", 0)) != classes
    ):
        raise Poison(
            f"artifact states {head_pairs.get('num_class')} classes and {head_pairs.get('num_tree_per_iteration')} trees a round"
        )
    for tree in trees:
        _check_lightgbm_tree(_pairs(tree), columns)


def _check_lightgbm_tree(tree: Mapping[str, str], columns: int) -> None:
    leaves = int(tree["num_leaves"])
    _same("leaf_value", len(_numbers(tree, "leaf_value")), leaves)
    if leaves > 1:
        left, right = _whole(_numbers(tree, "left_child")), _whole(_numbers(tree, "right_child"))
        for name in ("left_child", "right_child", "split_feature", "threshold", "decision_type"):
            _same(name, len(_numbers(tree, name)), leaves - 1)
        for children in (left, right):
            if np.any(~children[children < 0] >= leaves):
                raise Poison(_OUTSIDE)
        inner = _reached(left, right, lambda children: children >= 0, is_leaf_inside=False)
        refuse_columns(_whole(_numbers(tree, "split_feature"))[inner], columns)
        _check_lightgbm_categories(tree)
    if tree.get("is_linear", "0") != "0":
        refuse_columns(_whole(_numbers(tree, "leaf_features")), columns)
        _same("leaf_const", len(_numbers(tree, "leaf_const")), leaves)
        _same("leaf_coeff", len(_numbers(tree, "leaf_coeff")), len(_numbers(tree, "leaf_features")))


def _check_lightgbm_categories(tree: Mapping[str, str]) -> None:
    by_category = _whole(_numbers(tree, "decision_type")) & _CATEGORICAL != 0
    asked = _numbers(tree, "threshold")[by_category]
    if not len(asked):
        return
    edges = _whole(_numbers(tree, "cat_boundaries"))
    thresholds = len(_numbers(tree, "cat_threshold"))
    is_inside = len(edges) > 1 and edges[0] >= 0 and edges[-1] <= thresholds and bool(np.all(np.diff(edges) >= 0))
    if not is_inside or asked.min() < 0 or asked.max() >= len(edges) - 1:
        raise Poison("artifact holds a tree whose categories lie outside of its arrays")


def _reached(left: np.ndarray, right: np.ndarray, goes_on: Any, *, is_leaf_inside: bool = True) -> np.ndarray:
    """The inner nodes that a walk from the root reaches. Raises `Poison` when it leaves the arrays, or reaches a node
    twice.

    `goes_on`: which children are nodes of these arrays. `is_leaf_inside`: leaves are nodes too, without children.
    """
    count = len(left)
    if not count:
        raise Poison("artifact holds a tree without nodes")
    seen, level = np.zeros(count, bool), np.zeros(1, np.int64)
    while len(level):
        if np.any((level < 0) | (level >= count)) or np.any(seen[level]) or len(np.unique(level)) != len(level):
            raise Poison(_OUTSIDE)
        seen[level] = True
        # NB: a node without a left child is a leaf, whatever its right child is.
        inner = level[goes_on(left[level])] if is_leaf_inside else level
        below = np.concatenate([left[inner], right[inner]])
        level = below if is_leaf_inside else below[goes_on(below)]
    return np.flatnonzero(seen & goes_on(left)) if is_leaf_inside else np.flatnonzero(seen)


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _numbers(tree: Mapping[str, str], name: str) -> np.ndarray:
    return np.array(tree.get(name, "").split(), np.float64)


def _whole(values: Any) -> np.ndarray:
    return np.asarray(values, np.int64)


def _same(name: str, got: int, expected: int) -> None:
    if got != expected:
        raise Poison(f"artifact is inconsistent: {name} has {got} entries, expected {expected}")
