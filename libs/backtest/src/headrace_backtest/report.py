"""The report of a back-test as plain values, and its rows as Parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headrace.stats.losses import Yardstick
from headrace_backtest.calendars import Composite, drawn
from headrace_backtest.history import Bools, Floats, History
from headrace_backtest.judging import RANDOM_CALENDARS, SEED, Judged, losses_of
from headrace_backtest.replaying import Played

# A curve has so many points at the most.
POINTS = 120


def values_of(
    name: str,
    span: tuple[float, float],
    history: History,
    yardstick: Yardstick,
    never: Floats,
    matrix: Composite,
    played: Mapping[str, Played],
    judged: Sequence[Judged],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything that a back-test found."""
    rows = ~np.isnan(never)
    everything = np.ones((1, len(matrix.ready_s)), dtype=bool)
    return {
        "deployment": name,
        "from_s": span[0],
        "to_s": span[1],
        "requests": int(((history.at_s >= span[0]) & (history.at_s < span[1])).sum()),
        "labelled": int(rows.sum()),
        "loss": yardstick.name,
        "never": {"loss": float(never[rows].mean())},
        "always": {"retrains": len(matrix.ready_s), "gain": float(matrix.gains(everything)[0])},
        "random_calendars": RANDOM_CALENDARS,
        "policies": [_policy(found, matrix) for found in judged],
        "curves": _curves(span, history, yardstick, never, rows, played),
        "notes": list(notes),
    }


def write_rows(
    path: Path,
    history: History,
    yardstick: Yardstick,
    never: Floats,
    played: Mapping[str, Played],
    span: tuple[float, float],
) -> None:
    """One row per request of the stretch: its label, and per policy the version that answered and its loss."""
    within = np.flatnonzero((history.at_s >= span[0]) & (history.at_s < span[1]))
    rows = ~np.isnan(never)

    def instants(at_s: Floats) -> pl.Series:
        micros = np.where(np.isfinite(at_s), at_s * 1e6, 0).round().astype(np.int64)
        found = pl.Series(micros).cast(pl.Datetime("us", "UTC"))
        return pl.select(pl.when(pl.lit(pl.Series(np.isfinite(at_s)))).then(pl.lit(found))).to_series()

    columns = {
        "request_id": pl.Series([history.ids[n] for n in within], dtype=pl.String),
        "at": instants(history.at_s[within]),
        "label": pl.Series(history.labels[within]).fill_nan(None),
        "known_at": instants(history.known_s[within]),
        "never.loss": pl.Series(never[within]).fill_nan(None),
    }
    for name, found in played.items():
        columns[f"{name}.version"] = pl.Series(found.course.numbers[within])
        losses = losses_of(found.course, history, yardstick, rows)
        columns[f"{name}.loss"] = pl.Series(losses[within]).fill_nan(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(path)


def _policy(found: Judged, matrix: Composite) -> dict[str, Any]:
    count = len(found.retrains)
    random = matrix.gains(drawn(len(matrix.ready_s), count, RANDOM_CALENDARS, SEED))
    low, middle, high = (float(value) for value in np.percentile(random, [5, 50, 95]))
    return {
        "name": found.name,
        "alarms": found.alarms,
        "pages": found.pages,
        "false_alarms": found.false_alarms,
        "allowed": found.allowed,
        "delays": [asdict(delay) for delay in found.delays],
        "asked": found.asked,
        "retrains": [{**asdict(retrain), "gain": asdict(gain)} for retrain, gain in found.retrains],
        "gain": asdict(found.gain),
        "loss": found.loss,
        "percentile_of_phases": found.place.among_phases,
        "percentile_of_random": found.place.among_random,
        "percentile_by_timing": found.place.by_timing,
        "phases": found.place.phases,
        "calendars": {"low": low, "median": middle, "high": high},
    }


def _curves(
    span: tuple[float, float],
    history: History,
    yardstick: Yardstick,
    never: Floats,
    rows: Bools,
    played: Mapping[str, Played],
) -> dict[str, Any]:
    """Per policy what it had gained by then, summed over requests and divided by all of them; at equal distances of time."""
    edges = np.linspace(span[0], span[1], POINTS + 1)[1:]
    order = np.searchsorted(history.at_s[rows], edges, side="left")
    found = {}
    for name, one in played.items():
        gains = (never - losses_of(one.course, history, yardstick, rows))[rows]
        sums = np.concatenate([[0.0], np.cumsum(gains)])
        found[name] = (sums[order] / max(len(gains), 1)).tolist()
    return {"at_s": edges.tolist(), "gained": found}
