"""How a model's columns are matched with those of a version: by name where both have names, otherwise by position.

| the model's names   | the row's columns               | then                                                      |
|---------------------|---------------------------------|-----------------------------------------------------------|
| none                | as many                         | by position                                               |
| the same, in order  |                                 | by position                                               |
| the same, permuted  |                                 | each by its name: `matched`                               |
| others              |                                 | refused before it is registered: `why_not_columns`        |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import Signature
from headrace.models.encoders import know_as_rows_hold, know_as_sent
from headrace.models.engine import Engine, Floats, Vocabularies, numbered
from headrace.models.skops_format import SkopsEngine
from headrace.models.thresholds import meet_as_rows_hold

_MOST_LISTED = 12


class Matched:
    """An engine that gets the columns of a version in its own order."""

    def __init__(self, engine: Engine, order: NDArray[np.intp]) -> None:
        self._engine, self._order = engine, order
        self.columns, self.output, self.labels = engine.columns, engine.output, engine.labels
        self.names: tuple[str, ...] = ()
        self.vocabularies: Vocabularies = engine.vocabularies
        self.notes = engine.notes

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`."""
        return self._engine.predict(
            rows.iloc[:, self._order] if hasattr(rows, "iloc") else rows[:, self._order], output
        )


def matched(engine: Engine, signature: Signature) -> Engine:
    """The engine for rows of `signature`."""
    order = _order(model_names(engine.names, signature), [column.name for column in signature.columns])
    if isinstance(engine, SkopsEngine):
        names = engine.names or tuple(column.name for column in signature.columns)
        know_as_rows_hold(engine.estimator, names)
        if signature.frame:
            know_as_sent(engine.estimator, names)
        else:
            meet_as_rows_hold(engine.estimator)
        if engine.names and not signature.frame:
            engine.forget_names()
    return engine if order is None else Matched(engine, order)


def model_names(names: Sequence[str], signature: Signature) -> tuple[str, ...]:
    """A model's names as its version names the columns. NB: LightGBM writes an underscore for each blank.

    >>> from headrace.events.registry import ColumnPin
    >>> model_names(["b", "a_x"], Signature((ColumnPin("a x"), ColumnPin("b")), "d"))
    ('b', 'a x')
    """
    written = {column.name.replace(" ", "_"): column.name for column in signature.columns}
    known = {column.name for column in signature.columns}
    return tuple(name if name in known else written.get(name, name) for name in names)


def why_not_columns(engine: Engine, signature: Signature, deployment: str) -> str | None:
    """Why a model's columns are not those of a version, with the way out; None when they are."""
    names = [column.name for column in signature.columns]
    own = model_names(engine.names, signature)
    row_text = f"a row of {deployment} has {len(names)} ({_listed(names)})"
    if own and sorted(own) != sorted(names):
        missing, strange = [n for n in own if n not in names], [n for n in names if n not in own]
        apart = "; ".join(
            f"{what} {_listed(found)}" for what, found in (("it lacks", missing), ("too many:", strange)) if found
        )
        return (
            f"the model was trained on {len(own)} columns ({_listed(own)}), {row_text}; {apart}: declare the inputs by the model's names,"
            " in any order (--inputs-only leaves view features and derived columns out)"
        )
    wanted = engine.columns if engine.columns is not None else len(names)
    if wanted != len(names):
        return (
            f"the model takes {wanted} columns, {row_text}: its file has no names, so the inputs must be in the model's order;"
            " --inputs-only leaves view features out"
        )
    return None


def is_plain(classes: Sequence[str]) -> bool:
    """Whether these are not names, but what a model was trained on without names.

    >>> is_plain(("0", "1")), is_plain(("False", "True")), is_plain(("1", "2"))
    (True, True, False)
    """
    plain = numbered(len(classes))
    return tuple(classes) in (plain, tuple(f"{number}.0" for number in plain), ("False", "True"))


def _order(wanted: Sequence[str], given: Sequence[str]) -> NDArray[np.intp] | None:
    """Where each of `wanted` is among `given`; None when the order is the same, or the names differ."""
    if tuple(wanted) == tuple(given) or sorted(wanted) != sorted(given) or len(set(given)) != len(given):
        return None
    places = {name: place for place, name in enumerate(given)}
    return np.array([places[name] for name in wanted], np.intp)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (
        f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    )
