"""What a version's training data looked like, and how it did on days that it had not seen: what live data is compared with."""

import msgspec


class ColumnReference(msgspec.Struct, frozen=True):
    """A column of the training rows, or the scores. `kind`: `number` or `category`.

    `edges`: the inner edges of the bins of a number, ascending, () for a category. `codes`: the codes of the vocabulary
    that have a bin of their own, () for a number. `shares`: per bin its share of the rows that have a value; for a
    category per code in `codes`, then of all other values, and last of unknown ones or none. `null_share`: the share of
    rows without a value (or with an unknown one); `most_null`, `most_null_hours`: the highest one that is to be expected of
    24 hours, and of shorter stretches by the hour of the day (UTC) at which they end, one value where it is the same for all
    hours, () where it is not known (`headrace.stats.stretches`). `low`, `high`: the least and greatest value, None for a category. `spread`: how far a
    block lies from the other rows, as a multiple of what independent rows would: the geometric mean over the blocks, at
    least 1. `tail`: the standard deviation of its logarithm, None where there are too few blocks to tell. `log_mean`,
    `log_std`: of the logarithm of values that are all above 0, and `log_apart`: the furthest that a day's mean lies from
    `log_mean`; None for others. `sketch`: a KLL sketch of the values (Apache DataSketches, floats), b"" for a category.
    `most_missing`, `most_missing_hours`: of a feature whose rows hold a default where it has no value, the same of the share
    of those; None and () for others, and where that is not known. `distinct_sketch`: of how many distinct values there are
    (`headrace.stats.distinct`), of a category among the known ones.
    """

    name: str
    kind: str
    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    codes: tuple[int, ...] = ()
    null_share: float = 0.0
    most_null: float = 0.0
    most_null_hours: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    spread: float = 1.0
    tail: float | None = None
    log_mean: float | None = None
    log_std: float | None = None
    log_apart: float | None = None
    sketch: bytes = b""
    distinct_sketch: bytes = b""
    most_missing: float | None = None
    most_missing_hours: tuple[float, ...] = ()


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

    `rows`: how many rows; `block_s`: the width of the blocks behind `spread` and `block_rows` how many rows one has (its
    median). `columns`: at most the first 200 of the signature. `scores`: of the gated twin on the holdout, None for
    several classes. `windows`: by an expanding window over the history, oldest first.
    """

    rows: int
    from_s: float
    to_s: float
    block_s: float
    block_rows: float
    columns: tuple[ColumnReference, ...] = ()
    scores: ColumnReference | None = None
    windows: tuple[ReferenceWindow, ...] = ()
