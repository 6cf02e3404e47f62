"""The inputs of a request, and the label that is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A numeric input within inclusive limits (compared in float32), None for no limit. `nullable`: it may be missing."""

    name: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False


@dataclass(frozen=True)
class Category:
    """A text input. The model gets its code in the version's vocabulary; an unknown value becomes NaN and is counted."""

    name: str
    nullable: bool = False


@dataclass(frozen=True)
class Key:
    """A text or number that only binds feature views. The model does not get it."""

    name: str
    nullable: bool = True


Input = Number | Category | Key


@dataclass(frozen=True)
class Binary:
    """A label of 0 or 1.

    - `horizon`: how late a label may come.
    - `absent`: what a missing label means after that, `unknown` or `negative`.
    - `classes`: the names of 0 and 1, in this order, such as `("no", "yes")`; labels may then be given by name too.
    """

    name: str
    horizon: str | float
    absent: str = "unknown"
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Multiclass:
    """A label that is one of several classes. `classes`: their names; `horizon`: how late a label may come."""

    name: str
    classes: Sequence[str]
    horizon: str | float


@dataclass(frozen=True)
class Regression:
    """A label that is a number from `low` to `high`, inclusive. `horizon`: how late a label may come."""

    name: str
    low: float
    high: float
    horizon: str | float


LabelKind = Binary | Multiclass | Regression
