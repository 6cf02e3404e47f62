"""The charts of a deployment."""

from typing import Literal

import msgspec

from headrace_console.core.documents.words import Clock


class WindowPoint(msgspec.Struct, frozen=True):
    """An evaluation window, event time. `figures`: per version (digits) the figures by metric; `errors`: standard errors of
    `loss`. `statistic`: of the drift detector.
    """

    from_s: float
    to_s: float
    requests: int
    labelled: int
    verdict: str
    champion: int | None
    figures: dict[str, dict[str, float | None]] = {}
    errors: dict[str, float] = {}
    label_mean: float | None = None
    missing_share: float = 0.0
    statistic: float | None = None


class TrafficPoint(msgspec.Struct, frozen=True):
    """Traffic of `width_s` seconds, wall clock: a minute, or an hour of what is older. `outcomes`: counts by outcome and
    step. `versions`: answers by version (digits).
    """

    outcomes: dict[str, int]
    versions: dict[str, int] = {}
    p50_ms: float | None = None
    p99_ms: float | None = None
    width_s: float = 60.0


class SeriesMark(msgspec.Struct, frozen=True):
    """A mark on the charts: a version switched to, a finding, a retrain, a step of a rollout."""

    at_s: float
    clock: Clock
    kind: Literal["version", "finding", "resolved", "retrain", "rollout", "rollback"]
    text: str
    link: str
    wall_s: float | None = None


class Threshold(msgspec.Struct, frozen=True):
    """A limit that is drawn. `metric`: as in `WindowPoint.figures`, or `statistic`, `missing_share`, `p99_ms`."""

    metric: str
    value: float
    text: str


class Series(msgspec.Struct, frozen=True):
    """The charts of a deployment, by instant (digits): windows by their end, traffic by the start of its minute.

    `metrics`: those of the windows, the most telling first. `kept_s`: for how long traffic is kept.
    """

    metrics: tuple[str, ...]
    windows: dict[str, WindowPoint] = {}
    traffic: dict[str, TrafficPoint] = {}
    marks: dict[str, SeriesMark] = {}
    thresholds: tuple[Threshold, ...] = ()
    kept_s: float = 604_800.0
