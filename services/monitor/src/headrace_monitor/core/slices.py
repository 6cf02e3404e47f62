"""Slices of a window: its requests by the values of a column, for the frequent values.

The values come from decisions that are read again: a category from the logged row, by the vocabulary of its signature; a key
from the entity that was looked up. A window of more decisions than are read again is sliced by a fair sample of them.
A value is frequent when it is among the ten most frequent ones and has at least 30 requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade
from headrace.events.registry import ColumnPin
from headrace_monitor.core.scored import places_of
from headrace_monitor.core.windows import Rows

Columns = Mapping[str, tuple[ColumnPin, ...]]

MOST_VALUES = 10
LEAST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Slice:
    """The requests of one value of a column. `rows`: which rows of the window, a mask of shape (n,)."""

    name: str
    rows: NDArray[np.bool_]


def slices_of(
    deployment: DeploymentDefinition, rows: Rows, sample: Sequence[DecisionMade], columns: Columns
) -> tuple[Slice, ...]:
    """The slices of a window, `column=value`, by column and then by falling frequency. `columns`: of each signature, by digest."""
    return slices_by(deployment.slices, deployment, rows, sample, columns)


def slices_by(
    wanted: Sequence[str],
    deployment: DeploymentDefinition,
    rows: Rows,
    sample: Sequence[DecisionMade],
    columns: Columns,
    most: int = MOST_VALUES,
) -> tuple[Slice, ...]:
    """The slices by the `wanted` columns, at most `most` of each."""
    if not wanted or not sample:
        return ()
    places = places_of(rows, sample)
    known = [(place, decision) for place, decision in zip(places, sample, strict=True) if place is not None]
    found: list[Slice] = []
    for column in wanted:
        values = values_of(deployment, column, [decision for _, decision in known], columns)
        by_value: dict[str, list[int]] = {}
        for (place, _), value in zip(known, values, strict=True):
            if value is not None:
                by_value.setdefault(value, []).append(place)
        frequent = sorted(by_value.items(), key=lambda one: (-len(one[1]), one[0]))[:most]
        found += [_slice(f"{column}={value}", mine, len(rows)) for value, mine in frequent if len(mine) >= LEAST_ROWS]
    return tuple(found)


def values_of(
    deployment: DeploymentDefinition, column: str, decisions: Sequence[DecisionMade], columns: Columns
) -> list[str | None]:
    """The value of a category or of a key per decision; None where it is not logged, or not in the vocabulary."""
    views = [binding.view for binding in deployment.features if binding.fields == (column,)]
    if views:
        return [next((found.entities[view] for view in views if view in found.entities), None) for found in decisions]
    pins = {
        digest: (place, pin.vocabulary)
        for digest, pinned in columns.items()
        for place, pin in enumerate(pinned)
        if pin.name == column and pin.vocabulary is not None
    }
    return [_value(found, *pins[found.signature]) if found.signature in pins else None for found in decisions]


def _value(decision: DecisionMade, place: int, vocabulary: Sequence[str]) -> str | None:
    if len(decision.row) < 4 * (place + 1):
        return None
    code = float(np.frombuffer(decision.row, dtype="<f4", count=1, offset=4 * place)[0])
    return vocabulary[int(code)] if 0 <= code < len(vocabulary) else None


def _slice(name: str, places: Sequence[int], count: int) -> Slice:
    mask = np.zeros(count, dtype=bool)
    mask[list(places)] = True
    return Slice(name, mask)
