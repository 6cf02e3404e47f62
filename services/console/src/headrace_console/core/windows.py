"""Closed evaluation windows: the newest `KEPT` of each deployment, packed, and what the newest one says.

| kind of label | figure in the table  | limit                                    |
|---------------|----------------------|------------------------------------------|
| any           | log-loss or squared error | what the fallback chain's prior has on the same rows: a version above it helps nobody |
| no prior      | AUC, accuracy or RMSE | none                                     |
"""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from headrace.events.monitor import VersionQuality, WindowClosed
from headrace_console.core.documents import Quality, WindowPoint

KEPT = 240
SPARK = 24
# Figures of a version, the most telling first.
FIGURES = (
    "auc", "accuracy", "rmse", "mae", "log_loss", "squared_error", "expected_log_loss", "mean_score", "score",
)  # fmt: skip
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(WindowPoint).decode


@dataclass
class Kept:
    """The windows of one deployment. `points`: packed, oldest first; `newest`: the newest, without profiles."""

    newest: WindowClosed
    points: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT))
    spark: deque[tuple[str, float | None]] = field(default_factory=lambda: deque(maxlen=SPARK))
    has_labels: bool = False
    last_labelled_to_s: float | None = None


class Windows:
    """The windows of all deployments."""

    def __init__(self) -> None:
        self._of: dict[str, Kept] = {}

    def of(self, deployment: str) -> Kept | None:
        """The windows of a deployment; None where none has closed."""
        return self._of.get(deployment)

    def take(self, window: WindowClosed) -> None:
        """Take a closed window."""
        bare = msgspec.structs.replace(window, sources=())
        found = self._of.get(window.deployment)
        if found is None:
            found = self._of[window.deployment] = Kept(bare)
        if window.to_s >= found.newest.to_s:
            found.newest = bare
        if window.labelled:
            found.has_labels, found.last_labelled_to_s = True, window.to_s
        found.points.append(_pack(point_of(window)))
        quality = champion_of(window)
        found.spark.append(_figure(quality)[:2] if quality is not None else ("", None))


def points_of(found: Kept) -> list[WindowPoint]:
    """The kept windows, oldest first."""
    return [_unpack(packed) for packed in found.points]


def champion_of(window: WindowClosed) -> VersionQuality | None:
    """How the champion did; None where nobody knows."""
    return next((quality for quality in window.qualities if quality.role == "champion"), None)


def point_of(window: WindowClosed) -> WindowPoint:
    """A window as a point of the charts."""
    champion = champion_of(window)
    label_mean = window.mean_label if window.mean_label is not None else window.positive_share
    return WindowPoint(
        window.from_s,
        window.to_s,
        window.requests,
        window.labelled,
        window.verdict,
        champion.version if champion is not None else None,
        {str(quality.version): _figures(quality) for quality in window.qualities},
        {str(quality.version): quality.loss_error for quality in window.qualities},
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


def quality_of(found: Kept | None) -> Quality | None:
    """The quality of the champion in the newest window; None where no window has closed."""
    if found is None:
        return None
    window, quality = found.newest, champion_of(found.newest)
    metric, value, limit = _figure(quality) if quality is not None else ("", None, None)
    metric = metric or next((name for name, _ in reversed(found.spark) if name), "")
    return Quality(
        metric,
        value,
        quality.rows if quality is not None else 0,
        limit,
        metric in ("AUC", "accuracy"),
        window.verdict,
        _why_unmeasured(window) if value is None else "",
        window.from_s,
        window.to_s,
        tuple(value if name == metric else None for name, value in found.spark),
    )


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
