"""Whether the trees of XGBoost's and LightGBM's files stay inside of their own arrays.

As in `trees`: the libraries trust the numbers by which nodes name their children, columns and categories, and a trial finds a
number outside only when one of its rows takes that branch.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.errors import Poison

Ints = np.ndarray


def refuse_wild_xgboost(learner: Mapping[str, Any]) -> None:
    """Raise `Poison` when a tree of this learner (as the library writes it in JSON) points outside, or round in a circle."""
    booster = learner["gradient_booster"]
    model = booster.get("gbtree", booster).get("model", {})
    trees = model.get("trees")
    if trees is None:  # a linear one
        return
    about = learner["learner_model_param"]
    groups = max(1, int(about["num_class"]), int(about.get("num_target", 1)))
    info = _ints(model["tree_info"])
    if len(info) != len(trees) or _is_outside(info, groups):
        raise Poison(f"artifact names outputs outside of its {groups} for its {len(trees)} trees")
    for tree in trees:
        _check_xgboost(tree, int(about["num_feature"]))


def _check_xgboost(tree: Mapping[str, Any], columns: int) -> None:
    left, right, split = (_ints(tree[name]) for name in ("left_children", "right_children", "split_indices"))
    count = len(left)
    if not count or len(right) != count or len(split) != count:
        raise Poison("artifact holds a tree whose arrays differ in length")
    inner = left != -1
    children = np.concatenate([left[inner], right[inner]])
    # NB: numbers of nodes are used again after pruning, so a child may lie before its parent; but it has one, and the root none.
    if _is_outside(children, count) or np.any(np.bincount(children, minlength=count) > 1) or np.any(children == 0):
        raise Poison("artifact holds a tree whose nodes point outside of it, or back")
    if _is_outside(split[inner], columns):
        raise Poison(f"artifact holds a tree that asks for a column outside of its {columns}")
    by_category = np.flatnonzero((_ints(tree.get("split_type", [0] * count)) == 1) & inner)
    nodes, begins, sizes = (_ints(tree.get(f"categories_{name}", ())) for name in ("nodes", "segments", "sizes"))
    is_whole = len(nodes) == len(begins) == len(sizes) and not _is_outside(nodes, count)
    held = len(tree.get("categories", ()))
    if (
        not is_whole
        or np.any((begins < 0) | (sizes < 0) | (begins + sizes > held))
        or not set(by_category.tolist()) <= set(nodes.tolist())
    ):
        raise Poison("artifact holds a tree whose categories lie outside of its arrays")


def refuse_wild_lightgbm(text: str) -> None:
    """Raise `Poison` when a tree of this file points outside of its arrays, or back."""
    head, *blocks = text[: text.index("\nend of trees")].split("\nTree=")
    about = _fields(head)
    # NB: the library cuts the file into trees by these sizes: they must be those of the trees that are looked at here.
    sizes = about.get("tree_sizes")
    if sizes is not None and [int(size) for size in sizes.split()] != [
        len(f"Tree={block}\n".encode()) for block in blocks
    ]:
        raise Poison("artifact is cut into trees elsewhere than where they begin")
    columns = int(about["max_feature_idx"]) + 1
    for block in blocks:
        _check_lightgbm(_fields(block.partition("\n")[2]), columns)


def _check_lightgbm(tree: Mapping[str, str], columns: int) -> None:
    leaves, categories = int(tree["num_leaves"]), int(tree.get("num_cat", "0"))
    if leaves < 1 or categories < 0 or len(tree["leaf_value"].split()) < leaves:
        raise Poison(f"artifact holds a tree of {leaves} leaves with fewer values")
    if leaves == 1:
        return
    left, right, split, kinds = (
        _numbers(tree, name) for name in ("left_child", "right_child", "split_feature", "decision_type")
    )
    thresholds = tree["threshold"].split()
    inner = leaves - 1
    if {len(left), len(right), len(split), len(kinds), len(thresholds)} != {inner}:
        raise Poison("artifact holds a tree whose arrays differ in length")
    for child in (left, right):  # a leaf is written as -1 - its number
        if np.any(child >= inner) or np.any(child < -leaves) or np.any((child >= 0) & (child <= np.arange(inner))):
            raise Poison("artifact holds a tree whose nodes point outside of it, or back")
    if _is_outside(split, columns):
        raise Poison(f"artifact holds a tree that asks for a column outside of its {columns}")
    chosen = [int(float(found)) for found, kind in zip(thresholds, kinds, strict=True) if kind & 1]
    if not chosen and not categories:
        return
    bounds, words = _numbers(tree, "cat_boundaries"), tree["cat_threshold"].split()
    if (
        len(bounds) != categories + 1
        or _is_outside(np.array(chosen, np.int64), categories)
        or _is_outside(bounds, len(words) + 1)
        or np.any(np.diff(bounds) < 0)
    ):
        raise Poison("artifact holds a tree whose categories lie outside of its arrays")


def _fields(block: str) -> dict[str, str]:
    """The lines `name=value` of a block. A name that comes twice could be read in two ways."""
    pairs = [line.split("=", 1) for line in block.splitlines() if "=" in line]
    found = {name: value for name, value in pairs}  # noqa: C416 - pairs are lists
    if len(found) != len(pairs):
        twice = next(
            name for name, number in itertools.groupby(sorted(name for name, _ in pairs)) if len([*number]) > 1
        )
        raise Poison(f"artifact names {twice[:50]!r} twice")
    return found


def _numbers(tree: Mapping[str, str], name: str) -> Ints:
    return np.array([int(found) for found in tree[name].split()], dtype=np.int64)


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _is_outside(values: Ints, count: int) -> bool:
    return bool(len(values)) and bool(values.min() < 0 or values.max() >= count)
