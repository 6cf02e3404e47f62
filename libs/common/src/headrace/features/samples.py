"""Random requests that a deployment's contract allows, by seed: for load checks of a version, for warm-up, and for
tests.

| row            | numbers                                  | categories                    |
|----------------|------------------------------------------|-------------------------------|
| 0, 1, 2        | all lowest, all highest, all in between  | a known value                 |
| 3, 5, 7 ...    | whole numbers, where the limits hold any | each value in turn            |
| 4, 6, 8 ...    | with one decimal, with two, of four      | each value in turn            |
|                | digits, some at a limit                  |                               |
| each fourth    | null where nullable                      | unseen, or null where nullable|

All numbers of a row are of one sort, so that a model which knows only whole numbers (months), or refuses nulls, can
score the other rows. Without a limit, sizes are drawn between 0.01 and 10,000.

Numbers are drawn as people send them: 35.8, which a row holds as 35.79999924. A model was fitted on such values, so
ties and thresholds lie among them. A number with more digits than float32 distinguishes is given as a row holds it.
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
# Above this bound, float32 does not distinguish whole numbers from their neighbours.
WHOLE_BELOW = 2.0**24
# The decimals of fractions, in equal parts; None for `_DIGITS` digits in all.
_DECIMALS: tuple[int | None, ...] = (1, 2, None)
_DIGITS, _MOST_DIGITS = 4, 7
_AT_LIMIT = 0.05
_NOT_KNOWN = ("", "never seen before", "?", "0")

Inputs = Mapping[str, Scalar]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Requests, and what a version gets of them.

    `features`: float64 (n, view features), NaN where there is no value. `rows`: float32 (n, columns of the signature).
    """

    inputs: Sequence[Inputs]
    features: Floats
    rows: NDArray[np.float32]


def sample(deployment: DeploymentDefinition, signature: Signature, count: int = ROWS, seed: int = 0) -> Sample:
    """`count` requests that the contract allows, the same for the same seed."""
    rng = np.random.default_rng(seed)
    vocabularies = {pin.name: pin.vocabulary or () for pin in signature.columns}
    inputs = sample_inputs(deployment, vocabularies, count, rng)
    return sampled(deployment, signature, inputs, _features(_view_columns(deployment, signature), count, rng))


def sampled(
    deployment: DeploymentDefinition, signature: Signature, inputs: Sequence[Inputs], features: Floats | None = None
) -> Sample:
    """Given requests as a version gets them. `features`: None for no values."""
    if features is None:
        features = np.full((len(inputs), len(_view_columns(deployment, signature))), np.nan)
    rows = maker_of(deployment, signature).rows(inputs, features)
    return Sample(inputs, features, rows)


def maker_of(deployment: DeploymentDefinition, signature: Signature) -> RowMaker:
    """The maker of rows for `signature`. Derived columns are left out where it has inputs only."""
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
    """Inputs of `count` requests. `vocabularies`: the known values of each category."""
    columns = {
        field.name: _numbers(field, count, rng)
        if field.kind == "number"
        else _texts(field, vocabularies.get(field.name, ()), count, rng)
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


def _within_float32(limit: float | None, sign: int) -> float | None:
    if limit is None or abs(limit) < LARGEST:
        return limit
    return None if limit * sign > 0 else -sign * LARGEST


def _ends(low: float | None, high: float | None) -> tuple[float, float, float]:
    if low is None and high is None:
        return 0.0, 1.0, 0.5
    first = low if low is not None else high - 1.0 if high is not None else 0.0
    last = high if high is not None else first + 1.0
    middle = first / 2 + last / 2
    whole = float(np.floor(middle))
    return _sent(first, low, high), _sent(last, low, high), _sent(whole if whole >= first else middle, low, high)


def _whole(low: float | None, high: float | None, rng: np.random.Generator) -> float | None:
    """A whole number within the limits; None where there is none that float32 distinguishes."""
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
    """A number within the limits as it is sent, or as a row holds it where it has too many digits."""
    least, most = -LARGEST if low is None else low, LARGEST if high is None else high
    found = min(max(value, least), most) + 0.0
    is_distinct = abs(found) <= WHOLE_BELOW and float(f"{found:.{_MOST_DIGITS}g}") == found
    return found if is_distinct else seen(found)


def _open(low: float | None, high: float | None, rng: np.random.Generator) -> float:
    """A number where at least one limit is missing."""
    size = 10.0 ** rng.uniform(-2, 4)
    if low is None and high is None:
        return size if rng.random() < 0.5 else -size
    return low + size if low is not None else (high or 0.0) - size


def _short(value: float, places: int | None) -> float:
    """A number as people write it: with `places` decimals, or with a few digits where that is None."""
    return float(f"{value:.{_DIGITS}g}") if places is None else round(value, places)


def _texts(field: InputDefinition, vocabulary: Sequence[str], count: int, rng: np.random.Generator) -> list[Scalar]:
    if field.kind == "key":
        return [f"k{rng.integers(0, 10)}" for _ in range(count)]
    first = int(rng.integers(0, max(1, len(vocabulary))))
    found: list[Scalar] = []
    for row in range(count):
        if not vocabulary or (_has_holes(row) and rng.random() < _HOLES):
            found.append(None if field.nullable and rng.random() < 0.5 else _stranger(vocabulary, rng))
        else:
            found.append(vocabulary[(first + row) % len(vocabulary)])
    return found


def _stranger(vocabulary: Sequence[str], rng: np.random.Generator) -> str:
    """A value that a version does not know. Half of them consist of known values, as texts do."""
    known = [vocabulary[int(rng.integers(0, len(vocabulary)))] for _ in range(2)] if vocabulary else []
    found = " ".join(known) if known and rng.random() < 0.5 else _NOT_KNOWN[rng.integers(0, len(_NOT_KNOWN))]
    while found in vocabulary:
        found += "~"
    return found


def _features(columns: Sequence[ColumnPin], count: int, rng: np.random.Generator) -> Floats:
    """Values of view features, float64 (count, features): most between 0 and some hundreds, some missing."""
    drawn = np.round(10.0 ** rng.uniform(-1, 2.5, size=(count, len(columns))), 2)
    drawn[1:4:2] = np.round(drawn[1:4:2])
    holes = (rng.random(drawn.shape) < _HOLES) & np.array([[_has_holes(row)] for row in range(count)], bool).reshape(
        -1, 1
    )
    return np.where(holes, np.nan, drawn)
