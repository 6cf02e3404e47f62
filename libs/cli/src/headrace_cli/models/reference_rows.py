"""What is normal for a version that was registered by hand: rows of a file, as the deployment would get them, by column.

| column of the file                       | read as                                                     |
|------------------------------------------|-------------------------------------------------------------|
| `at`, or the one that is named           | when the request was asked: how unlike days are follows     |
| an input                                 | the input; a row that breaks the contract is left out       |
| a feature, as `view.feature`             | the feature; needed where the model gets features           |

Derived columns are computed, other columns are ignored, so a file of `headrace dataset build` is such a file. Rows are read and
scored some thousands at a time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Scalar
from headrace.events.references import VersionReference
from headrace.features.rows import RowMaker, check_inputs
from headrace.models.engine import CLASSES, Engine
from headrace.models.frames import frame_of
from headrace.models.matching import matched
from headrace.models.proving import Answering
from headrace.stats.references import described, left_out
from headrace_cli.tables import cells
from headrace_cli.tables import files as tables

Matrix = NDArray[np.float32]
Chunk = tuple[NDArray[np.float64], Matrix, NDArray[np.bool_] | None]

MOST_ROWS, LEAST_ROWS = 1_000_000, 200
_CHUNK = 10_000
_READ = {"number": cells.number, "category": cells.text, "key": cells.scalar}


@dataclass(frozen=True)
class Described:
    """A reference, and messages for the user."""

    reference: VersionReference
    notes: tuple[str, ...]


def read_reference(
    path: Path, at: str, deployment: DeploymentDefinition, answering: Answering, engine: Engine
) -> Described:
    """The reference of a version by the rows of a file. `at`: the column of instants. `engine`: freshly loaded; it is changed.

    Raises `Misconfigured` where the file is none of rows of this deployment, with the way out.
    """
    reading = _Reading(path, at, deployment, answering)
    engine = matched(engine, answering.signature)
    parts = [(at_s, matrix, reading.scores(engine, matrix), missing) for at_s, matrix, missing in reading.chunks()]
    at_s = np.concatenate([np.empty(0), *(part[0] for part in parts)])
    if len(at_s) < LEAST_ROWS:
        why = f"; the first that cannot: {reading.why}" if reading.left else ""
        raise Misconfigured(
            f"{path} holds {len(at_s):,} rows that can be described, at least {LEAST_ROWS} are needed{why}"
        )
    order = np.argsort(at_s, kind="stable")
    scores = None
    if answering.output != CLASSES:
        scores = (np.concatenate([part[2] for part in parts])[order], at_s[order])
    columns = answering.signature.columns
    matrix = np.concatenate([part[1] for part in parts])[order]
    missing = [part[3] for part in parts if part[3] is not None]
    defaulted = np.concatenate(missing)[order] if missing else None
    found = described(columns, matrix, at_s[order], deployment.evaluation_window_s, scores, defaulted)
    return Described(found, tuple(filter(None, (*reading.notes(), *_notes(found), left_out(columns)))))


def _notes(found: VersionReference) -> Iterator[str]:
    if all(column.tail is None for column in found.columns):
        yield (
            f"the rows of --reference lie in too few stretches of {found.block_s / 86_400:g} d to tell how unlike they usually are:"
            " columns that move away from them are not found, nulls and values out of range are"
        )


class _Reading:
    """The rows of a file, some thousands at a time. `left`: how many were left out; `why`: why the first one was, with its place."""

    def __init__(self, path: Path, at: str, deployment: DeploymentDefinition, answering: Answering) -> None:
        self.left, self.why = 0, ""
        self._path, self._deployment, self._answering = path, deployment, answering
        self._maker = RowMaker(deployment, answering.signature)
        self._table = tables.Table(path)
        inputs = [one for one in deployment.inputs if one.name in self._table.columns or not one.nullable]
        self._inputs = [field.name for field in inputs]
        behind = len([field for field in deployment.inputs if field.kind != "key"]) + len(deployment.derived)
        self._features = [column.name for column in answering.signature.columns[behind:]]
        read = [tables.Column(at, cells.instant), *(tables.Column(one.name, _READ[one.kind]) for one in inputs)]
        self._columns = [*read, *(tables.Column(name, cells.number) for name in self._features)]
        if at not in self._table.columns:
            raise Misconfigured(
                f"{path} has no column {at!r} of when each request was asked (--reference-at names it): how unlike days are"
                f" cannot be told without; it has: {', '.join(self._table.columns)}"
            )

    def chunks(self) -> Iterator[Chunk]:
        """Instants (n,), rows of the version's signature, float32 (n, columns), and where these hold defaults."""
        kept: list[tuple[Any, ...]] = []
        for count, row in enumerate(self._table.rows(self._columns), start=1):
            if count > MOST_ROWS:
                raise Misconfigured(f"{self._path} holds more than {MOST_ROWS:,} rows: give the newest of them")
            if (why := self._why_not(row)) is not None:
                self.left, self.why = self.left + 1, self.why or why
            elif isinstance(row, tables.Row):
                kept.append(row.cells)
            if len(kept) == _CHUNK:
                yield self._made(kept)
                kept = []
        if kept:
            yield self._made(kept)

    def scores(self, engine: Engine, matrix: Matrix) -> Matrix:
        """The scores of rows, (n,) of two classes and of numbers, in which alone they are compared."""
        if self._answering.output == CLASSES:
            return np.empty(0, np.float32)
        signature = self._answering.signature
        asked = frame_of(matrix, signature.columns) if signature.frame else matrix
        return self._answering.read(engine.predict(asked, self._answering.output))[:, 0].astype(np.float32)

    def notes(self) -> tuple[str, ...]:
        """How many rows were left out, and why the first one was."""
        return (f"{self.left:,} rows of {self._path} are left out, the first: {self.why}",) if self.left else ()

    def _why_not(self, row: tables.Row | tables.BadRow) -> str | None:
        place = f"{self._table.place} {row.line}"
        if isinstance(row, tables.BadRow):
            return f"{place}: {row.reason}"
        if row.cells[0] is None:
            return f"{place}: it has no instant"
        invalid = check_inputs(self._deployment, self._given(row.cells))
        return None if invalid is None else f"{place}: {invalid.reason}"

    def _given(self, cells_: Sequence[Any]) -> Mapping[str, Scalar]:
        return dict(zip(self._inputs, cells_[1 : 1 + len(self._inputs)], strict=True))

    def _made(self, kept: Sequence[tuple[Any, ...]]) -> Chunk:
        first = 1 + len(self._inputs)
        features = [[math.nan if cell is None else cell for cell in row[first:]] for row in kept]
        shaped = np.array(features, np.float64).reshape(len(kept), len(self._features))
        matrix = self._maker.rows([self._given(row) for row in kept], shaped)
        return np.array([row[0] for row in kept], np.float64), matrix, self._maker.defaulted(shaped)
