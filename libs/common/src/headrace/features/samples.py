"""Requests that a deployment's contract allows, drawn with a seed: to prove a version on, to warm it up by, and for tests.

| row            | numbers                                  | categories                    |
|----------------|------------------------------------------|-------------------------------|
| 0, 1, 2        | all lowest, all highest, all in between  | a known word                  |
| 3, 5, 7 ...    | whole ones, where the limits hold any    | each word in turn             |
| 4, 6, 8 ...    | with one decimal, with two, of four      | each word in turn             |
|                | digits, some at a limit                  |                               |
| each fourth    | null where nullable                      | unseen, or null where nullable|

Whole rows are of one sort: a model that knows only whole numbers (months), or that refuses nulls, can score the others. Where
a side has no limit, sizes are drawn from hundredths to ten thousands.

Numbers are said as people send them: 35.8, of which a row holds 35.79999924. Those are the values that a model was fitted on, so it is
among them that neighbours tie and thresholds lie. A number of more digits than float32 tells apart is said as a row holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace.events.inference import Scalar
from headrace.events.registry import ColumnPin, Signature
from headrace.features.precision import LARGEST, seen
from headrace.features.rows import RowMaker

ROWS = 200
_HOLE_EVERY, _HOLES = 4, 0.3
# Beyond these, whole numbers cannot be told from their neighbours in float32.
WHOLE_BELOW = 2.0**24
# How many decimals fractions have, in equal parts; None for `_DIGITS` digits, wherever the point is.
_DECIMALS: tuple[int | None, ...] = (1, 2, None)
_DIGITS, _MOST_DIGITS = 4, 7
_AT_LIMIT = 0.05
_NOT_KNOWN = ("", "never seen before", "?", "0")

Inputs = Mapping[str, Scalar]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Requests and what a version sees of them. `features`: float64 (n, view features), NaN where there is no value;
    `rows`: float32 (n, columns of the signature).
    """

    inputs: Sequence[Inputs]
    features: Floats
    rows: NDArray[np.float32]


def sample(deployment: DeploymentDefinition, signature: Signature, count: int = ROWS, seed: int = 0) -> Sample:
    """`count` requests that the contract allows, the same for the same seed."""
    rng = np.random.default_rng(seed)
    words = {pin.name: pin.vocabulary or () for pin in signature.columns}
    inputs = sample_inputs(deployment, words, count, rng)
    return sampled(deployment, signature, inputs, _features(_view_columns(deployment, signature), count, rng))


def sampled(
    deployment: DeploymentDefinition, signature: Signature, inputs: Sequence[Inputs], features: Floats | None = None
) -> Sample:
    """Given requests as a version sees them. `features`: without a value each when None."""
    if features is None:
        features = np.full((len(inputs), len(_view_columns(deployment, signature))), np.nan)
    rows = maker_of(deployment, signature).rows(inputs, features)
    return Sample(inputs, features, rows)


def maker_of(deployment: DeploymentDefinition, signature: Signature) -> RowMaker:
    """What makes rows for `signature`, derived columns left out where it sees inputs only."""
    if not signature.views_digest:
        deployment = msgspec.structs.replace(deployment, derived=())
    return RowMaker(deployment, signature)


def _view_columns(deployment: DeploymentDefinition, signature: Signature) -> Sequence[ColumnPin]:
    if not signature.views_digest:
        return ()
    own = sum(field.kind != "key" for field in deployment.inputs) + len(deployment.derived)
    return signature.columns[own:]


def sample_inputs(
    deployment: DeploymentDefinition,
    vocabularies: Mapping[str, Sequence[str]],
    count: int,
    rng: np.random.Generator,
) -> list[dict[str, Scalar]]:
    """Inputs of `count` requests. `vocabularies`: the words of each category that a version knows."""
    columns = {
        field.name: _numbers(field, count, rng)
        if field.kind == "number"
        else _words(field, vocabularies.get(field.name, ()), count, rng)
        for field in deployment.inputs
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def _has_holes(row: int) -> bool:
    return row > 2 and row % _HOLE_EVERY == 0


def _numbers(field: InputDefinition, count: int, rng: np.random.Generator) -> list[Scalar]:
    low, high = _within_float32(field.low, -1), _within_float32(field.high, 1)
    found: list[Scalar] = [*_ends(low, high)]
    for row in range(len(found), count):
        is_null = field.nullable and _has_holes(row) and rng.random() < _HOLES
        value = _whole(low, high, rng) if row % 2 else None
        found.append(None if is_null else value if value is not None else _fraction(low, high, rng))
    return found[:count]


def _within_float32(limit: float | None, side: int) -> float | None:
    if limit is None or abs(limit) < LARGEST:
        return limit
    return None if limit * side > 0 else -side * LARGEST


def _ends(low: float | None, high: float | None) -> tuple[float, float, float]:
    if low is None and high is None:
        return 0.0, 1.0, 0.5
    first = low if low is not None else high - 1.0 if high is not None else 0.0
    last = high if high is not None else first + 1.0
    middle = first / 2 + last / 2
    whole = float(np.floor(middle))
    return _sent(first, low, high), _sent(last, low, high), _sent(whole if whole >= first else middle, low, high)


def _whole(low: float | None, high: float | None, rng: np.random.Generator) -> float | None:
    """A whole number within the limits, None where there is none that float32 tells from its neighbours."""
    least = np.ceil(max(low if low is not None else -WHOLE_BELOW, -WHOLE_BELOW))
    most = np.floor(min(high if high is not None else WHOLE_BELOW, WHOLE_BELOW))
    if least > most:
        return None
    if low is not None and high is not None:
        return float(rng.integers(int(least), int(most), endpoint=True))
    return float(np.clip(np.round(_open(low, high, rng)), least, most))


def _fraction(low: float | None, high: float | None, rng: np.random.Generator) -> float:
    limits = [limit for limit in (low, high) if limit is not None]
    if limits and rng.random() < _AT_LIMIT:
        return _sent(limits[rng.integers(0, len(limits))], low, high)
    share, places = rng.random(), _DECIMALS[rng.integers(0, len(_DECIMALS))]
    if low is None or high is None:
        return _sent(_short(_open(low, high, rng), places), low, high)
    is_wide = places is not None and high - low >= 10.0**-places
    return _sent(_short(low * (1 - share) + high * share, places if is_wide else None), low, high)


def _sent(value: float, low: float | None, high: float | None) -> float:
    """The number as it is sent, within the limits; as a row holds it where it has more digits than that tells apart."""
    least, most = -LARGEST if low is None else low, LARGEST if high is None else high
    found = min(max(value, least), most) + 0.0
    is_told_apart = abs(found) <= WHOLE_BELOW and float(f"{found:.{_MOST_DIGITS}g}") == found
    return found if is_told_apart else seen(found)


def _open(low: float | None, high: float | None, rng: np.random.Generator) -> float:
    """A number where one side at least has no limit."""
    size = 10.0 ** rng.uniform(-2, 4)
    if low is None and high is None:
        return size if rng.random() < 0.5 else -size
    return low + size if low is not None else (high or 0.0) - size


def _short(value: float, places: int | None) -> float:
    """As people write numbers: with so many decimals, a few digits where None."""
    return float(f"{value:.{_DIGITS}g}") if places is None else round(value, places)


def _words(field: InputDefinition, words: Sequence[str], count: int, rng: np.random.Generator) -> list[Scalar]:
    if field.kind == "key":
        return [f"k{rng.integers(0, 10)}" for _ in range(count)]
    first = int(rng.integers(0, max(1, len(words))))
    found: list[Scalar] = []
    for row in range(count):
        if not words or (_has_holes(row) and rng.random() < _HOLES):
            found.append(None if field.nullable and rng.random() < 0.5 else _stranger(words, rng))
        else:
            found.append(words[(first + row) % len(words)])
    return found


def _stranger(words: Sequence[str], rng: np.random.Generator) -> str:
    """A word that a version does not know: half of them made of words that it knows, as texts are."""
    known = [words[int(rng.integers(0, len(words)))] for _ in range(2)] if words else []
    found = " ".join(known) if known and rng.random() < 0.5 else _NOT_KNOWN[rng.integers(0, len(_NOT_KNOWN))]
    while found in words:
        found += "~"
    return found


def _features(columns: Sequence[ColumnPin], count: int, rng: np.random.Generator) -> Floats:
    """Values of view features, float64 (count, features): most between 0 and some hundreds, some without a value."""
    drawn = np.round(10.0 ** rng.uniform(-1, 2.5, size=(count, len(columns))), 2)
    drawn[1:4:2] = np.round(drawn[1:4:2])
    holes = (rng.random(drawn.shape) < _HOLES) & np.array([[_has_holes(row)] for row in range(count)], bool).reshape(
        -1, 1
    )
    return np.where(holes, np.nan, drawn)
