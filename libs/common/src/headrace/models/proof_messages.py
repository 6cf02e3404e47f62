"""Messages about rows whose served score differs from the model's own, for whoever registers the model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.features.samples import Inputs
from headrace.models.engine import Floats

MOST_CHARACTERS = 300


def first_of(faults: dict[int, str]) -> str:
    """Why the first row was not scored, on one line."""
    return " ".join(next(iter(faults.values()), "its scores are NaN or infinite").split())


def why_unlike(
    inputs: Sequence[Inputs], served: Floats, wanted: Floats, gaps: Floats, faults: dict[int, str], *, by_rounding: bool
) -> str:
    """Why rows would be served wrongly, and the way out. `gaps`: the difference per row, 0 where there is none."""
    worst = int(gaps.argmax())
    value = int(np.nan_to_num(np.abs(served[worst] - wanted[worst]), nan=np.inf).argmax())
    own, as_row = in_distinct_digits(float(wanted[worst, value]), float(served[worst, value]))
    problem = f"for {inputs_text(inputs[worst])} the model itself gives {own}"
    how_many = f"{np.count_nonzero(gaps)} of {len(gaps)} rows"
    if worst in faults:
        return f"{how_many} cannot be served: {problem}, as a row it raises {faults[worst]}"
    then = f"{how_many} would be served wrongly: {problem}, as a row it would give {as_row}"
    if by_rounding:
        return f"{then}; rows are float32, and its thresholds lie between: fit it on float32 (X.astype('float32')), or on numbers of at most six digits"
    return then


def why_lost(
    inputs: Sequence[Inputs], held: Floats, wanted: Floats, gaps: Floats, near: float, wide: Sequence[str]
) -> str:
    """That rows lose digits of `wide` inputs that the model needs, and the way out."""
    worst = int(gaps.argmax())
    value = int(np.abs(held[worst] - wanted[worst]).argmax())
    own, as_row = in_distinct_digits(float(wanted[worst, value]), float(held[worst, value]))
    return (
        f"{np.count_nonzero(gaps > near)} of {len(gaps)} rows would be served wrongly: for {inputs_text(inputs[worst])} the model itself"
        f" gives {own}, for what a row holds of it {as_row}; of {', '.join(map(repr, wide))} float32"
        " holds about seven digits: count it from a nearer point, or in a coarser unit, in the model and in requests"
    )


def in_distinct_digits(one: float, other: float) -> tuple[str, str]:
    """Two figures with as many digits as show that they differ, and one more.

    >>> in_distinct_digits(1.2631201, 1.2631222), in_distinct_digits(0.25, 0.5), in_distinct_digits(float("nan"), 1.0)
    (('1.2631201', '1.2631222'), ('0.25', '0.5'), ('nan', '1'))
    """
    fewest = next((digits for digits in range(5, 18) if f"{one:.{digits}g}" != f"{other:.{digits}g}"), 17)
    digits = min(max(6, fewest + 1), 17)
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def inputs_text(inputs: Any) -> str:
    """A request's inputs as text, at most some hundred characters long."""
    text = ", ".join(f"{name}={value!r}" for name, value in inputs.items())
    return "{" + (text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " ...") + "}"
