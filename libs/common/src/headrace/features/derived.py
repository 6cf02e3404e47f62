"""Evaluates derived columns, element by element in float64, so that one row and a million rows agree to the last bit.

Arithmetic, comparisons and sqrt are rounded exactly by IEEE 754. log, exp, sin and cos call the C library value by
value, since their vectorised versions round differently for different lengths. A result that is not finite is missing
(NaN).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Misconfigured
from headrace.project.derived import Expression

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]


def evaluate(expression: Expression, columns: Columns, rows: int) -> Floats:
    """The column, float64 (rows,). `columns`: numbers as float64 with NaN for missing, texts as objects with None.

    >>> evaluate(["/", "miles", 2.0], {"miles": np.array([3.0, np.nan])}, 2)
    array([1.5, nan])
    """
    with np.errstate(all="ignore"):
        found = np.broadcast_to(np.asarray(_value(expression, columns), dtype=np.float64), (rows,))
    return np.where(np.isfinite(found), found, np.nan)


def _value(expression: Expression, columns: Columns) -> Any:
    if isinstance(expression, str):
        return columns[expression]
    if not isinstance(expression, list | tuple):
        return np.float64(expression)
    operator, *arguments = expression
    if operator == "text":
        return arguments[0]
    return OPERATORS[operator](*(_value(argument, columns) for argument in arguments))


def _by_value(function: Callable[[float], float]) -> Callable[[Any], Any]:
    def safe(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return math.nan

    vectorised = np.frompyfunc(safe, 1, 1)
    return lambda values: np.asarray(vectorised(values), dtype=np.float64)


def _number(values: Any) -> Any:
    return np.asarray(values, dtype=np.float64)


def _equal(left: Any, right: Any) -> Any:
    return np.asarray(np.equal(left, right), dtype=np.float64)


def _truth(values: Any) -> Any:
    found = _number(values)
    return (found != 0) & ~np.isnan(found)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.mod,
    "<": lambda a, b: _number(np.less(a, b)),
    "<=": lambda a, b: _number(np.less_equal(a, b)),
    ">": lambda a, b: _number(np.greater(a, b)),
    ">=": lambda a, b: _number(np.greater_equal(a, b)),
    "==": _equal,
    "!=": lambda a, b: 1.0 - _equal(a, b),
    "&": lambda a, b: _number(_truth(a) & _truth(b)),
    "|": lambda a, b: _number(_truth(a) | _truth(b)),
    "~": lambda a: _number(~_truth(a)),
    "where": lambda condition, a, b: np.where(_truth(condition), _number(a), _number(b)),
    "min": np.minimum,
    "max": np.maximum,
    "is_missing": lambda a: _number(np.vectorize(lambda v: v is None or v != v, otypes=[float])(a)),
    "floor": np.floor,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": _by_value(math.log),
    "exp": _by_value(math.exp),
    "sin": _by_value(math.sin),
    "cos": _by_value(math.cos),
}


def refuse_unknown(expression: Expression) -> None:
    """Raise `Misconfigured` when an expression uses an operator that this version does not know."""
    if isinstance(expression, list | tuple) and expression[0] != "text":
        if expression[0] not in OPERATORS:
            raise Misconfigured(f"a derived column uses {expression[0]!r}, which this version does not know: upgrade")
        for argument in expression[1:]:
            refuse_unknown(argument)
