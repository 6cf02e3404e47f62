"""Whether the trees of a scikit-learn model stay inside their own arrays.

A tree's nodes name their children and their column by number, and the compiled code trusts these: one number outside
reads foreign memory, or loops for ever. A load check would only find it if one of its rows took that branch. In every
tree that scikit-learn grows, a child comes after its parent, so that a walk down the tree ends.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.models.bounds import refuse_out_of_bounds

_TREE = "sklearn.tree._tree.Tree"
_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_HANDS_ON = "sklearn.ensemble."
_MOST_VALUES = 10_000_000
# NB: classes are leaves too (an encoder's `dtype`): their content is not part of the model, and cannot be changed.
_LEAVES = (str, bytes, int, float, np.generic, type(None), type)


def refuse_wild_trees(model: Any) -> None:
    """Raise `Poison` when a tree anywhere in `model` points outside of its arrays, or back; see also
    `headrace.models.bounds`.
    """
    for found, columns in walk(model):
        kind = f"{type(found).__module__}.{type(found).__qualname__}"
        if kind == _TREE:
            _check_tree(found, columns)
        elif kind == _PREDICTOR:
            _check_predictor(found, columns)
        else:
            refuse_out_of_bounds(found)


def walk(model: Any) -> Iterator[tuple[Any, int | None]]:
    """Everything inside a model, each once, with the number of columns that its estimator states (None for not
    stated).
    """
    waiting: list[tuple[Any, int | None]] = [(model, None)]
    seen: set[int] = set()
    while waiting:
        value, columns = waiting.pop()
        if id(value) in seen or isinstance(value, _LEAVES):
            continue
        seen.add(id(value))
        if len(seen) > _MOST_VALUES:
            raise Poison(f"artifact holds more than {_MOST_VALUES:,} values")
        yield value, columns
        inside = getattr(value, "__dict__", None) or {}
        own = inside.get("n_features_in_", columns)
        own = int(own) if isinstance(own, int | np.integer) else None
        # NB: histogram boosting takes rows of any width where it encodes categories first; it has thresholds for those
        # it was fitted on.
        thresholds = getattr(inside.get("_bin_mapper"), "bin_thresholds_", None)
        if own is not None and isinstance(thresholds, list):
            own = min(own, len(thresholds))
        if own is not None and type(value).__module__.startswith(_HANDS_ON):
            _refuse_wider(inside.get("estimators_"), own)
        waiting += [(item, own) for item in _parts(value, inside)]


def _refuse_wider(members: Any, columns: int) -> None:
    """An ensemble passes its rows to its trees unchecked, so the trees' own statements must not exceed the
    ensemble's.
    """
    # NB: without making an array of them, since a pipeline among them would be split into its steps.
    listed = members.ravel().tolist() if isinstance(members, np.ndarray) else members
    for member in listed if isinstance(listed, list | tuple) else ():
        tree = getattr(member, "tree_", None)
        if tree is not None and (wide := max(tree.n_features, getattr(member, "n_features_in_", 0))) > columns:
            raise Poison(f"artifact holds a tree of {wide} columns in an ensemble of {columns}")


def _parts(value: Any, inside: dict[str, Any]) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else []
    return list(inside.values())


def _check_tree(tree: Any, columns: int | None) -> None:
    state = tree.__getstate__()
    nodes, count = state["nodes"], int(state["node_count"])
    if len(nodes) != count or len(state["values"]) != count:
        raise Poison(
            f"artifact holds a tree of {count} nodes with {len(nodes)} of them, and {len(state['values'])} values"
        )
    if columns is not None and tree.n_features > columns:
        raise Poison(f"artifact holds a tree of {tree.n_features} columns in a model of {columns}")
    places = np.arange(count)
    inner = nodes["left_child"] != -1
    _check_children(places, inner, nodes["left_child"], nodes["right_child"])
    refuse_columns(nodes["feature"][inner], tree.n_features)


def _check_predictor(predictor: Any, columns: int | None) -> None:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    _check_children(np.arange(len(nodes)), inner, nodes["left"].astype(np.int64), nodes["right"].astype(np.int64))
    if columns is not None:
        refuse_columns(nodes["feature_idx"][inner].astype(np.int64), columns)
    sets = min(len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets))
    by_category = inner & (nodes["is_categorical"] != 0)
    if len(nodes) and np.any(nodes["bitset_idx"][by_category].astype(np.int64) >= sets):
        raise Poison("artifact holds a tree whose categories lie outside of its arrays")


def _check_children(places: np.ndarray, inner: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    if not len(places):
        raise Poison("artifact holds a tree without nodes")
    for child in (left, right):
        if np.any((child[inner] <= places[inner]) | (child[inner] >= len(places))):
            raise Poison("artifact holds a tree whose nodes point outside of it, or back")


def refuse_columns(columns: np.ndarray, count: int) -> None:
    """Raise `Poison` when nodes use `columns` that rows of `count` columns do not have."""
    if len(columns) and (columns.min() < 0 or columns.max() >= count):
        raise Poison(f"artifact holds a tree that asks for a column outside of its {count}")
