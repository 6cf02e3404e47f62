"""What the monitor remembers to estimate how versions do before labels come."""

import msgspec

from headrace.events.charts import Estimated


class VersionExperience(msgspec.Struct, frozen=True):
    """What closed windows showed of one version, as sums over bins of its scores.

    `kind`: of the label. `groups`: how many classes are calibrated one by one, 1 of two classes and of numbers. `sums`: faded
    sums, by group, bin and kind of sum, flat. `edges`: the inner edges of a number's bins. `rows`: labelled rows, faded, in so
    many `windows`. `errors`: per metric the errors of the newest estimates, each followed by the standard error that
    the estimate had by chance; oldest first.
    """

    version: int
    kind: str
    groups: int
    sums: tuple[float, ...]
    edges: tuple[float, ...] = ()
    rows: float = 0.0
    windows: int = 0
    errors: dict[str, tuple[float, ...]] = {}


class AwaitedWindow(msgspec.Struct, frozen=True):
    """An open window that was estimated, by its start. Estimates without bounds yet, which are infinite, are not published."""

    from_s: float
    estimates: tuple[Estimated, ...]


class EstimationState(msgspec.Struct, frozen=True):
    """The memory of a deployment's estimates. `to_s`: windows that end by then are estimated, None for none yet."""

    versions: tuple[VersionExperience, ...] = ()
    awaited: tuple[AwaitedWindow, ...] = ()
    to_s: float | None = None
