"""A label as open blocks keep it. Evaluation windows are in `windows`."""

from dataclasses import dataclass

HOUR_S = 3600.0


@dataclass(slots=True)
class Label:
    """A unit's ground truth, and since when it is known."""

    value: float
    known_s: float
