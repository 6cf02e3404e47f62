"""Whether search trees, votes and splines stay inside their own arrays.

It is the rule of `headrace.models.trees` for other structures that compiled code walks. A search tree's node i has the
children 2i + 1 and 2i + 2, and names its part of the tree's points. A vote is the number of a class. A spline of degree
k with n coefficients has n + k + 1 knots, in order (de Boor, 1978). Scoring checks none of this: one number outside
reads foreign memory.
"""

from typing import Any

import numpy as np

from headrace.errors import Poison

_SEARCH_TREES = ("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree")
_SPLINE = "scipy.interpolate._bsplines.BSpline"
_VOTERS = "sklearn.neighbors._classification."


def refuse_out_of_bounds(found: Any) -> None:
    """Raise `Poison` when this one object (not its parts) points outside of its arrays."""
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    if kind in _SEARCH_TREES:
        _check_search_tree(found.__getstate__(), bounds=2 if kind == _SEARCH_TREES[0] else 1)
    elif kind == _SPLINE:
        _check_spline(found.__dict__)
    elif kind.startswith(_VOTERS):
        _check_votes(found.__dict__)


def _check_search_tree(state: Any, bounds: int) -> None:
    points, order, nodes, node_bounds, *_, node_count, _, _, _, _, _, weights = state
    count, columns = points.shape
    if len(order) != count or len(nodes) != node_count or node_bounds.shape != (bounds, node_count, columns):
        raise Poison(f"artifact holds a search tree of {count} points whose arrays have other sizes")
    if weights is not None and len(weights) != count:
        raise Poison(f"artifact holds a search tree of {count} points with {len(weights)} weights")
    if count and (order.min() < 0 or order.max() >= count):
        raise Poison("artifact holds a search tree that points outside of its points")
    starts, ends, places = nodes["idx_start"], nodes["idx_end"], np.arange(node_count)
    inner = nodes["is_leaf"] == 0
    is_outside = np.any((starts < 0) | (starts > ends) | (ends > count)) or np.any(2 * places[inner] + 2 >= node_count)
    if not node_count or is_outside:
        raise Poison("artifact holds a search tree whose nodes point outside of it")


def _check_spline(inside: dict[str, Any]) -> None:
    knots, coefficients, degree = inside.get("_t"), inside.get("_c"), inside.get("k")
    is_whole = isinstance(knots, np.ndarray) and isinstance(coefficients, np.ndarray) and isinstance(degree, int)
    if not is_whole or knots.ndim != 1 or knots.dtype != np.float64 or coefficients.ndim < 1 or degree < 0:
        raise Poison("artifact holds an invalid spline: it needs knots, coefficients and a degree")
    count = len(knots) - degree - 1
    if count < 1 or len(coefficients) < count or not np.isfinite(knots).all() or np.any(np.diff(knots) < 0):
        raise Poison(f"artifact holds a spline of {len(coefficients)} coefficients whose {len(knots)} knots do not fit")


def _check_votes(inside: dict[str, Any]) -> None:
    votes, classes = inside.get("_y"), inside.get("classes_")
    if not isinstance(votes, np.ndarray) or not isinstance(classes, np.ndarray) or votes.ndim != 1 or not len(votes):
        return  # several labels at once: read by checked code, and refused elsewhere
    is_whole = np.issubdtype(votes.dtype, np.integer)
    if not is_whole or votes.min() < 0 or votes.max() >= len(classes):
        raise Poison(f"artifact holds votes outside of its {len(classes)} classes")
