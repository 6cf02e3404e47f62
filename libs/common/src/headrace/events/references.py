"""What a version's training data looked like, and how it did on days that it had not seen: what live data is compared with."""

import msgspec


class ColumnReference(msgspec.Struct, frozen=True):
    """A column of the training rows, or the scores. `kind`: `number` or `category`.

    `edges`: the inner edges of the bins of a number, ascending, () for a category. `shares`: per bin its share of the
    rows that have a value; for a category per code of the vocabulary, and last of unknown values. `null_share`: the
    share of rows without a value; `most_null`: the highest one of a block of rows. `low`, `high`: the least and greatest
    value, None for a category. `spread`: by how much rows of one block are more alike than independent ones: the factor
    (at least 1) on the distance between a block and the rest. `sketch`: a KLL sketch of the values (Apache DataSketches,
    floats), b"" for a category.
    """

    name: str
    kind: str
    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    null_share: float = 0.0
    most_null: float = 0.0
    low: float | None = None
    high: float | None = None
    spread: float = 1.0
    sketch: bytes = b""


class ChartFigure(msgspec.Struct, frozen=True):
    """The figure of a chart in a window, and its standard error by independent rows."""

    value: float
    error: float


class ReferenceWindow(msgspec.Struct, frozen=True):
    """A window of rows that was scored by a model that was fitted on older rows only. `charts`: the figure per chart."""

    from_s: float
    to_s: float
    rows: int
    charts: dict[str, ChartFigure]


class VersionReference(msgspec.Struct, frozen=True):
    """What is normal for a version: its training rows by column, its scores, and windows out of time.

    `rows`: how many rows; `block_s`: the width of the blocks behind `most_null` and `spread`. `scores`: of the gated
    twin on the holdout, None for several classes. `windows`: by an expanding window over the history, oldest first.
    """

    rows: int
    from_s: float
    to_s: float
    block_s: float
    columns: tuple[ColumnReference, ...] = ()
    scores: ColumnReference | None = None
    windows: tuple[ReferenceWindow, ...] = ()
