"""What is said of rows that would be served otherwise than the model says, for the one who registers it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.features.samples import Inputs
from headrace.models.engine import Floats

MOST_TOLD = 300


def first_of(faults: dict[int, str]) -> str:
    """Why the first row was not scored, on one line."""
    return " ".join(next(iter(faults.values()), "its scores are NaN or infinite").split())


def why_unlike(
    inputs: Sequence[Inputs], said: Floats, wanted: Floats, gaps: Floats, faults: dict[int, str], *, by_rounding: bool
) -> str:
    """What is wrong with rows that would be served otherwise than the model says, and the way out. `gaps`: 0 where nothing is."""
    worst = int(gaps.argmax())
    value = int(np.nan_to_num(np.abs(said[worst] - wanted[worst]), nan=np.inf).argmax())
    says, would = told_apart(float(wanted[worst, value]), float(said[worst, value]))
    told = f"of {told_of(inputs[worst])} the model itself says {says}"
    how_many = f"{np.count_nonzero(gaps)} of {len(gaps)} rows"
    if worst in faults:
        return f"{how_many} cannot be served: {told}, as a row it raises {faults[worst]}"
    then = f"{how_many} would be served wrongly: {told}, as a row it would say {would}"
    if by_rounding:
        return f"{then}; rows are float32, and its limits lie between: fit it on float32 (X.astype('float32')), or on numbers of at most six digits"
    return then


def why_lost(
    inputs: Sequence[Inputs], held: Floats, wanted: Floats, gaps: Floats, near: float, wide: Sequence[str]
) -> str:
    """That rows lose digits of `wide` inputs that the model needs, and the way out."""
    worst = int(gaps.argmax())
    value = int(np.abs(held[worst] - wanted[worst]).argmax())
    says, would = told_apart(float(wanted[worst, value]), float(held[worst, value]))
    return (
        f"{np.count_nonzero(gaps > near)} of {len(gaps)} rows would be served wrongly: of {told_of(inputs[worst])} the model itself"
        f" says {says}, of what a row holds of it {would}; of {', '.join(map(repr, wide))} float32"
        " holds some seven digits: count it from a point nearer by, or in a coarser unit, in the model and in requests"
    )


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Two figures in as many digits as show that they are not the same, and one more to see by how much.

    >>> told_apart(1.2631201, 1.2631222), told_apart(0.25, 0.5), told_apart(float("nan"), 1.0)
    (('1.2631201', '1.2631222'), ('0.25', '0.5'), ('nan', '1'))
    """
    fewest = next((digits for digits in range(5, 18) if f"{one:.{digits}g}" != f"{other:.{digits}g}"), 17)
    digits = min(max(6, fewest + 1), 17)
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def told_of(inputs: Any) -> str:
    """A request's inputs, at most some hundred characters of them."""
    text = ", ".join(f"{name}={value!r}" for name, value in inputs.items())
    return "{" + (text if len(text) <= MOST_TOLD else text[:MOST_TOLD] + " ...") + "}"
