"""Request-time transforms: columns computed from a request's inputs and features, alike in serving and training.

    Derived("speed_mph", lambda r: r.distance_miles / (r.block_min / 60))
    Derived("worse_than_usual", lambda r: r["carrier.delay_3h"] - r["carrier.delay_24h"])
    Derived("is_night", lambda r: fn.where((r.hour < 6) | (r.hour >= 22), 1, 0))

The function is called once, when the project is compiled, with stand-ins for the columns. Its operations on them are
recorded as an expression, which is data: inference evaluates it without the user's code. So the function must be pure,
and use only arithmetic, comparisons, `& | ~` and the functions of `fn`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace.errors import Misconfigured

# A number, the name of a column, or [operator, argument, ...]; ["text", value] is a text constant.
Expression = Any


class Term:
    """A stand-in for a column, or for a value computed from columns."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def __bool__(self) -> bool:
        raise Misconfigured("a derived column cannot branch with if, and, or: use fn.where(...), & and |")

    def __add__(self, other: Any) -> "Term":
        return _applied("+", self, other)

    def __radd__(self, other: Any) -> "Term":
        return _applied("+", other, self)

    def __sub__(self, other: Any) -> "Term":
        return _applied("-", self, other)

    def __rsub__(self, other: Any) -> "Term":
        return _applied("-", other, self)

    def __mul__(self, other: Any) -> "Term":
        return _applied("*", self, other)

    def __rmul__(self, other: Any) -> "Term":
        return _applied("*", other, self)

    def __truediv__(self, other: Any) -> "Term":
        return _applied("/", self, other)

    def __rtruediv__(self, other: Any) -> "Term":
        return _applied("/", other, self)

    def __mod__(self, other: Any) -> "Term":
        return _applied("%", self, other)

    def __neg__(self) -> "Term":
        return _applied("-", 0.0, self)

    def __lt__(self, other: Any) -> "Term":
        return _applied("<", self, other)

    def __le__(self, other: Any) -> "Term":
        return _applied("<=", self, other)

    def __gt__(self, other: Any) -> "Term":
        return _applied(">", self, other)

    def __ge__(self, other: Any) -> "Term":
        return _applied(">=", self, other)

    def __eq__(self, other: object) -> "Term":  # ty: ignore[invalid-method-override] - a stand-in
        return _applied("==", self, other)

    def __ne__(self, other: object) -> "Term":  # ty: ignore[invalid-method-override] - a stand-in
        return _applied("!=", self, other)

    def __and__(self, other: Any) -> "Term":
        return _applied("&", self, other)

    def __or__(self, other: Any) -> "Term":
        return _applied("|", self, other)

    def __invert__(self) -> "Term":
        return _applied("~", self)

    __hash__ = None


class Columns:
    """The argument of a transform: `r.hour` or `r["carrier.delay_3h"]`."""

    def __getattr__(self, name: str) -> Term:
        return Term(name)

    def __getitem__(self, name: str) -> Term:
        return Term(name)


class fn:  # noqa: N801 - reads as a module of functions
    """The functions of derived columns. Each gives the same result to the last bit for one row and for many."""

    @staticmethod
    def where(condition: Any, then: Any, otherwise: Any) -> Term:
        """`then` where the condition holds, else `otherwise`."""
        return _applied("where", condition, then, otherwise)

    @staticmethod
    def minimum(left: Any, right: Any) -> Term:
        """The smaller of two; missing when either is missing."""
        return _applied("min", left, right)

    @staticmethod
    def maximum(left: Any, right: Any) -> Term:
        """The larger of two; missing when either is missing."""
        return _applied("max", left, right)

    @staticmethod
    def is_missing(value: Any) -> Term:
        """1 where there is no value, else 0."""
        return _applied("is_missing", value)

    @staticmethod
    def floor(value: Any) -> Term:
        """The largest whole number that is not larger than the value."""
        return _applied("floor", value)

    @staticmethod
    def absolute(value: Any) -> Term:
        """The value without its sign."""
        return _applied("abs", value)

    @staticmethod
    def sqrt(value: Any) -> Term:
        """Square root; missing for negative values."""
        return _applied("sqrt", value)

    @staticmethod
    def log(value: Any) -> Term:
        """Natural logarithm; missing for values that are not positive."""
        return _applied("log", value)

    @staticmethod
    def exp(value: Any) -> Term:
        """e to the power of the value; missing where float64 cannot hold it."""
        return _applied("exp", value)

    @staticmethod
    def sin(value: Any) -> Term:
        """Sine, of radians."""
        return _applied("sin", value)

    @staticmethod
    def cos(value: Any) -> Term:
        """Cosine, of radians."""
        return _applied("cos", value)


@dataclass(frozen=True)
class Derived:
    """A column of the row that a pure function computes at request time from the request's inputs and features."""

    name: str
    of: Callable[[Columns], Any]


def trace(derived: Derived) -> Expression:
    """The expression that a transform records. Raises `Misconfigured` when the function cannot be recorded."""
    try:
        found = derived.of(Columns())
    except Misconfigured as error:
        raise Misconfigured(f"derived column {derived.name}: {error}") from None
    except Exception as error:
        # NB: the user's function may fail in any way on stand-ins (a call of math.log, say).
        raise Misconfigured(
            f"derived column {derived.name}: {type(error).__name__}: {error}; "
            "use arithmetic, comparisons and the functions of headrace.project.fn"
        ) from None
    return _expression(found)


def columns_of(expression: Expression) -> set[str]:
    """The names of the columns that an expression reads.

    >>> sorted(columns_of(["/", "miles", ["*", "hours", 2.0]]))
    ['hours', 'miles']
    """
    if isinstance(expression, str):
        return {expression}
    if not isinstance(expression, list | tuple) or expression[0] == "text":
        return set()
    return set().union(*(columns_of(argument) for argument in expression[1:]))


def _applied(operator: str, *arguments: Any) -> Term:
    return Term([operator, *(_expression(argument) for argument in arguments)])


def _expression(value: Any) -> Expression:
    if isinstance(value, Term):
        return value.expression
    if isinstance(value, str):
        return ["text", value]
    if isinstance(value, bool | int | float):
        return float(value)
    raise Misconfigured(f"a derived column is made of columns, numbers and texts, got {type(value).__name__}")
