"""Trees of HistGradientBoosting for ONNX, with categories: skl2onnx converts a split by category like one by number, and for the wrong column.

scikit-learn puts categories first and renumbers their values (`_preprocessor`); its trees refer to those places and numbers. A split by
category becomes a chain of equalities over the categories of one branch; missing and unknown values go to the other branch:

    category in {2, 5} goes left, missing goes right  ->  is it 2? left : is it 5? left : right

NaN equals nothing, so it falls through the chain as well. Thresholds are rounded down to float32, the type of the rows: x <= t stays true.
(ai.onnx.ml TreeEnsemble operators, version 3. LightGBM's converter, too, has several nodes lead to one.)
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEQ, EQ, LEAF = "BRANCH_LEQ", "BRANCH_EQ", "LEAF"
# Equals no code: for a split without a value in the branch that is compared.
_NOTHING = -1.0
_BITS = 32


@dataclass
class _Nodes:
    """The columns of the operator's table of nodes, and of its leaves."""

    tree: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    leaves: list[tuple[int, int, int, float]] = field(default_factory=list)

    def add(
        self, tree: int, place: int, mode: str, column: int, value: float, branches: tuple[int, int], missing: int
    ) -> None:
        """Add a node. `branches`: the nodes for true and for false; `missing`: whether NaN counts as true."""
        self.tree.append(tree)
        self.place.append(place)
        self.mode.append(mode)
        self.column.append(column)
        self.value.append(value)
        self.true.append(branches[0])
        self.false.append(branches[1])
        self.missing.append(missing)


def has_categories(model: Any) -> bool:
    """Whether a model is a HistGradientBoosting with categories, whose trees must be converted here."""
    return getattr(model, "_preprocessor", None) is not None and hasattr(model, "_predictors")


def rewrite(model: Any, graph: Any) -> None:
    """Replace the trees in the graph that skl2onnx made of a fitted model with categories."""
    (node,) = [found for found in graph.node if found.op_type.startswith("TreeEnsemble")]
    leaf = "class" if node.op_type == "TreeEnsembleClassifier" else "target"
    given = {found.name: found for found in node.attribute}
    first = min(given[f"{leaf}_ids"].ints)
    nodes = _nodes_of(model, first)
    kept = [found for name, found in given.items() if not name.startswith(("nodes_", f"{leaf}_"))]
    del node.attribute[:]
    node.attribute.extend([*kept, *_attributes(nodes, leaf)])


def _attributes(nodes: _Nodes, leaf: str) -> Iterator[Any]:
    from onnx import helper

    trees, places, ids, weights = (list(found) for found in zip(*nodes.leaves, strict=True))
    columns = {
        "nodes_treeids": nodes.tree,
        "nodes_nodeids": nodes.place,
        "nodes_featureids": nodes.column,
        "nodes_values": nodes.value,
        "nodes_modes": nodes.mode,
        "nodes_truenodeids": nodes.true,
        "nodes_falsenodeids": nodes.false,
        "nodes_missing_value_tracks_true": nodes.missing,
        f"{leaf}_treeids": trees,
        f"{leaf}_nodeids": places,
        f"{leaf}_ids": ids,
        f"{leaf}_weights": weights,
    }
    return (helper.make_attribute(name, values) for name, values in columns.items())


def _nodes_of(model: Any, first: int) -> _Nodes:
    """All trees. `first`: the number of the first class, or target."""
    is_category = np.asarray(model.is_categorical_, bool)
    columns = [*np.flatnonzero(is_category), *np.flatnonzero(~is_category)]
    codes = model._preprocessor.named_transformers_["encoder"].categories_
    found, tree = _Nodes(), 0
    for predictors in model._predictors:
        for number, predictor in enumerate(predictors):
            _add_tree(found, tree, predictor, columns, codes, first + number)
            tree += 1
    return found


def _add_tree(found: _Nodes, tree: int, predictor: Any, columns: list[Any], codes: list[Any], answers: int) -> None:
    extra = len(predictor.nodes)
    for place, node in enumerate(predictor.nodes):
        if node["is_leaf"]:
            found.add(tree, place, LEAF, 0, 0.0, (0, 0), 0)
            found.leaves.append((tree, place, answers, float(node["value"])))
            continue
        column, branches = int(columns[node["feature_idx"]]), (int(node["left"]), int(node["right"]))
        if not node["is_categorical"]:
            missing = int(node["missing_go_to_left"])
            found.add(tree, place, LEQ, column, _down(float(node["num_threshold"])), branches, missing)
            continue
        known = codes[node["feature_idx"]]
        left = _members(predictor.raw_left_cat_bitsets[node["bitset_idx"]], len(known))
        to, rest = (branches[1], branches[0]) if node["missing_go_to_left"] else branches
        asked = known[~left if node["missing_go_to_left"] else left]
        asked = [float(code) for code in asked if code == code] or [_NOTHING]
        chain = [place, *range(extra, extra + len(asked) - 1)]
        extra += len(asked) - 1
        for here, then, code in zip(chain, [*chain[1:], rest], asked, strict=True):
            found.add(tree, here, EQ, column, code, (to, then), 0)


def _members(bits: Any, count: int) -> Any:
    """Which of `count` values a set of bits holds."""
    return np.array([bool(int(bits[n // _BITS]) >> (n % _BITS) & 1) for n in range(count)], bool)


def _down(threshold: float) -> float:
    """The largest float32 that is not above it: of float32 values the same lie below."""
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
