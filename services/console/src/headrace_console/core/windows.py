"""Closed evaluation windows: the newest `KEPT` of each deployment, packed, and what the newest one says.

| kind of label | figure in the table  | limit                                    |
|---------------|----------------------|------------------------------------------|
| any           | log-loss or squared error | what the fallback chain's prior has on the same rows: a version above it helps nobody |
| no prior      | AUC, accuracy or RMSE | none                                     |

The champion is the registry's. In the windows around a switch two versions have the role of the champion, and one of them
is a shadow in the same window too: of several entries of a version the champion's counts, then the one with more rows.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from headrace.events.monitor import VersionQuality, WindowClosed
from headrace.log.envelope import format_instant
from headrace_console.core.documents import Quality, WindowPoint

KEPT = 240
SPARK = 24
# Versions of a deployment whose newest figure is kept.
MEASURED_KEPT = 50
CHAMPION = "champion"
# Figures of a version, the most telling first.
FIGURES = (
    "auc", "accuracy", "rmse", "mae", "log_loss", "squared_error", "expected_log_loss", "mean_score", "score",
)  # fmt: skip
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(WindowPoint).decode


@dataclass
class Kept:
    """The windows of one deployment. `points`: packed, oldest first; `newest`: the newest, without profiles. `spark`: the
    qualities of the newest windows, oldest first. `measured`: per version the newest window that has a figure of it.
    """

    newest: WindowClosed
    points: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT))
    spark: deque[tuple[VersionQuality, ...]] = field(default_factory=lambda: deque(maxlen=SPARK))
    measured: dict[int, tuple[WindowClosed, VersionQuality]] = field(default_factory=dict)
    has_labels: bool = False


class Windows:
    """The windows of all deployments."""

    def __init__(self) -> None:
        self._of: dict[str, Kept] = {}

    def of(self, deployment: str) -> Kept | None:
        """The windows of a deployment; None where none has closed."""
        return self._of.get(deployment)

    def take(self, window: WindowClosed) -> None:
        """Take a closed window."""
        bare = msgspec.structs.replace(window, sources=(), charts=(), columns=(), estimates=())
        found = self._of.get(window.deployment)
        if found is None:
            found = self._of[window.deployment] = Kept(bare)
        if window.to_s >= found.newest.to_s:
            found.newest = bare
        found.has_labels |= window.labelled > 0
        found.points.append(_pack(point_of(window)))
        found.spark.append(window.qualities)
        _note_measured(found, bare)


def _note_measured(found: Kept, window: WindowClosed) -> None:
    for version, quality in by_version(window.qualities).items():
        known = found.measured.get(version)
        if _figure(quality)[1] is not None and (known is None or window.to_s >= known[0].to_s):
            found.measured.pop(version, None)
            found.measured[version] = (window, quality)
    for version in [*islice(found.measured, max(len(found.measured) - MEASURED_KEPT, 0))]:
        del found.measured[version]


def points_of(found: Kept) -> list[WindowPoint]:
    """The kept windows, oldest first."""
    return [_unpack(packed) for packed in found.points]


def by_version(qualities: Iterable[VersionQuality]) -> dict[int, VersionQuality]:
    """One entry per version: as champion before as shadow, then with more rows."""
    ordered = sorted(qualities, key=lambda one: (one.role == CHAMPION, one.rows))
    return {quality.version: quality for quality in ordered}


def champion_of(qualities: Iterable[VersionQuality], champion: int | None = None) -> VersionQuality | None:
    """How the champion did in a window; None where nobody knows. `champion`: whose figure is wanted, where the window has it
    as champion; else, and for None, of those that were champion in the window the one with the most rows.
    """
    found = [one for one in by_version(qualities).values() if one.role == CHAMPION]
    wanted = [one for one in found if one.version == champion] or sorted(found, key=lambda one: one.rows)
    return wanted[-1] if wanted else None


def point_of(window: WindowClosed) -> WindowPoint:
    """A window as a point of the charts."""
    champion, qualities = champion_of(window.qualities), by_version(window.qualities)
    label_mean = window.mean_label if window.mean_label is not None else window.positive_share
    return WindowPoint(
        window.from_s,
        window.to_s,
        window.requests,
        window.labelled,
        window.verdict,
        champion.version if champion is not None else None,
        {str(version): _figures(quality) for version, quality in qualities.items()},
        {str(version): quality.loss_error for version, quality in qualities.items()},
        label_mean,
        window.missing_share,
        window.drift_statistic,
    )


def _figures(quality: VersionQuality) -> dict[str, float | None]:
    found = {name: getattr(quality, name) for name in FIGURES}
    return {name: value for name, value in found.items() if value is not None}


def metrics_of(points: list[WindowPoint]) -> tuple[str, ...]:
    """The figures that any window has, the most telling first."""
    there = {name for point in points for figures in point.figures.values() for name in figures}
    return tuple(name for name in FIGURES if name in there)


def quality_of(found: Kept | None, champion: int | None = None) -> Quality | None:
    """The quality of the champion; None where no window has closed. `champion`: the registry's, None where it is not known.

    It is of the newest window, else of the newest one that has a figure of the champion; `why` says so then.
    """
    if found is None:
        return None
    window, quality, why = _of_champion(found, champion)
    metric, value, limit = _figure(quality) if quality is not None else ("", None, None)
    marks = [_spark(qualities, champion) for qualities in found.spark]
    metric = metric or next((name for name, _ in reversed(marks) if name), "")
    return Quality(
        metric,
        value,
        quality.rows if quality is not None else 0,
        limit,
        metric in ("AUC", "accuracy"),
        window.verdict,
        why,
        window.from_s,
        window.to_s,
        tuple(value if name == metric else None for name, value in marks),
    )


def _of_champion(found: Kept, champion: int | None) -> tuple[WindowClosed, VersionQuality | None, str]:
    """The window that shows the champion, its quality there, and why it is not a figure of the newest window."""
    newest = found.newest
    quality = champion_of(newest.qualities) if champion is None else by_version(newest.qualities).get(champion)
    if quality is not None and _figure(quality)[1] is not None:
        return newest, quality, ""
    if champion in found.measured:
        window, quality = found.measured[champion]
        why = f"of the window to {format_instant(int(window.to_s))}: the newest one has no figure of version {champion}"
        return window, quality, f"{why} ({_why_unmeasured(newest)})"
    is_other = champion is not None and champion_of(newest.qualities) is not None
    return newest, quality, f"no window has a figure of version {champion} yet" if is_other else _why_unmeasured(newest)


def _spark(qualities: Iterable[VersionQuality], champion: int | None) -> tuple[str, float | None]:
    quality = champion_of(qualities, champion)
    return _figure(quality)[:2] if quality is not None else ("", None)


def _figure(quality: VersionQuality) -> tuple[str, float | None, float | None]:
    """The figure by which the champion is shown: its name, value and limit."""
    if quality.loss is not None and quality.over_prior is not None:
        return quality.loss_name, quality.loss, quality.loss - quality.over_prior
    named = (
        ("AUC", quality.auc),
        ("accuracy", quality.accuracy),
        ("RMSE", quality.rmse),
        (quality.loss_name, quality.loss),
    )
    return next(((name, value, None) for name, value in named if value is not None), ("", None, None))


def _why_unmeasured(window: WindowClosed) -> str:
    if window.unmeasured:
        return window.unmeasured
    return f"{window.labelled:,} of {window.requests:,} requests have their outcome"
