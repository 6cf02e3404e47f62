"""Rows for comparing a pickle with the file made from it: the user's, or random ones. The pickle gets a frame with its own names.

Without a file: numbers of a normal distribution, with a seed, and words of the model's encoders. With a file: `.npy`, or a CSV with a header,
whose columns are matched by the model's names if it has any, else by position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Misconfigured
from headrace.events.registry import ColumnPin, Signature
from headrace.models.encoders import known_to, wants_names
from headrace.models.engine import Engine, Floats, Vocabularies, extra
from headrace.models.frames import frame_of
from headrace.models.matching import matched
from headrace.models.skops_format import SkopsEngine
from headrace_cli.tables import files as tables
from headrace_cli.tables.cells import label as label_cell
from headrace_cli.tables.cells import text as text_cell

SAMPLE_ROWS = 200
_GRID = 64
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Rows:
    """Columns in the model's order: float64, or objects if they hold words. `is_named`: these are the model's own names."""

    columns: Columns
    words: Vocabularies
    is_named: bool

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def frame(self) -> Any:
        """The rows as the model was trained on them; a matrix if it knows no names."""
        found = extra("pandas").DataFrame(dict(self.columns))
        return found if self.is_named else found.to_numpy()

    def categorical(self) -> Any:
        """A frame with words as pandas' categories, as boosters need them."""
        pandas = extra("pandas")
        found = {
            name: pandas.Categorical(values, categories=self.words.get(name)) if values.dtype == object else values
            for name, values in self.columns.items()
        }
        return pandas.DataFrame(found) if self.is_named else self.frame()

    def served(self, engine: Engine, *, is_frame: bool) -> Floats:
        """The file's scores of the rows, asked as an instance would ask it."""
        pins = tuple(ColumnPin(name, self.words.get(name)) for name in self.columns)
        matrix = np.column_stack([_coded(self.columns[pin.name], pin) for pin in pins]).astype(np.float32)
        asked = frame_of(matrix, pins) if is_frame else matrix
        return matched(engine, Signature(pins, "", frame=is_frame)).predict(asked, engine.output)


def rows_for(model: Any, engine: Engine, file: Path | None) -> Rows:
    """Rows to compare a model on. Raises `Misconfigured` if no rows fit it."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ())) or engine.names
    count = engine.columns or getattr(model, "n_features_in_", None) or len(names)
    if not count:
        raise Misconfigured("the number of the model's columns is not known: give rows with --rows FILE.csv")
    called = names or tuple(f"x{place}" for place in range(count))
    words = dict(known_to(model, called).vocabularies if isinstance(engine, SkopsEngine) else engine.vocabularies)
    columns = _drawn(called, words) if file is None else _read(file, called, is_named=bool(names))
    return Rows(columns, words, bool(names))


def is_framed(engine: Engine, rows: Rows) -> bool:
    """Whether the file gets a frame with names and words."""
    return isinstance(engine, SkopsEngine) and (wants_names(engine.estimator) or bool(rows.words))


def _drawn(names: Sequence[str], words: Vocabularies) -> Columns:
    """Random numbers that both float32 and six decimals hold exactly, because the comparison is about the file, not about rounding."""
    rng = np.random.default_rng(0)
    return {
        name: rng.choice(np.array(words[name], object), SAMPLE_ROWS)
        if name in words
        else np.round(rng.normal(size=SAMPLE_ROWS) * _GRID) / _GRID
        for name in names
    }


def _read(file: Path, names: Sequence[str], *, is_named: bool) -> Columns:
    if file.suffix == ".npy":
        try:
            return _by_place(names, list(np.load(file).T))
        except (OSError, ValueError) as error:
            raise Misconfigured(f"{file} is not a .npy array of numbers: {error}") from None
    table = tables.Table(file)
    called = [name.removeprefix("# ") for name in table.columns]  # as numpy writes it
    if is_named:
        table.need([name for name in names if name not in called])
    found = list(table.rows([tables.Column(name, label_cell) for name in table.columns]))
    bad = next((row for row in found if isinstance(row, tables.BadRow)), None)
    if bad is not None or not found:
        raise Misconfigured(f"{file}, line {bad.line}: {bad.reason}" if bad else f"{file} holds no rows")
    cells = [_column([row.cells[place] for row in found]) for place in range(len(called))]  # ty: ignore[unresolved-attribute]  bad ones are refused
    return {name: cells[called.index(name)] for name in names} if is_named else _by_place(names, cells)


def _by_place(names: Sequence[str], columns: Sequence[NDArray[Any]]) -> Columns:
    if len(columns) != len(names):
        raise Misconfigured(f"the model takes {len(names)} columns, the rows have {len(columns)}")
    return dict(zip(names, columns, strict=True))


def _column(cells: list[Any]) -> NDArray[Any]:
    if any(isinstance(cell, str) for cell in cells):
        return np.array(
            [np.nan if cell is None else cell if isinstance(cell, str) else text_cell(cell) for cell in cells], object
        )
    return np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64)


def _coded(values: NDArray[Any], pin: ColumnPin) -> Floats:
    if pin.vocabulary is None or values.dtype != object:
        return values.astype(np.float64)
    codes = {word: float(place) for place, word in enumerate(pin.vocabulary)}
    return np.array([np.nan if value != value else codes.get(value, len(codes)) for value in values], np.float64)
