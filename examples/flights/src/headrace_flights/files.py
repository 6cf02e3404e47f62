"""Writes the schedule as files for `headrace replay`: requests, and the history of both raw streams."""

from pathlib import Path

import numpy as np
import polars as pl

from headrace_flights.schedule import KINDS, WEATHER_PUBLISHED_AFTER_S, Schedule

# How long after the last request the last flights have landed.
LABELS_AFTER_S = 12 * 3600.0
_US = 1e6


def write_files(schedule: Schedule, from_s: float, to_s: float, folder: Path) -> None:
    """Write `requests.parquet` (asked in [from_s, to_s)), `movements.parquet` and `weather.parquet` (sent from `from_s` on)."""
    folder.mkdir(parents=True, exist_ok=True)
    until_s = to_s + LABELS_AFTER_S
    requests(schedule, from_s, to_s).write_parquet(folder / "requests.parquet")
    movements(schedule, from_s, until_s).write_parquet(folder / "movements.parquet")
    weather(schedule, from_s, until_s).write_parquet(folder / "weather.parquet")


def requests(schedule: Schedule, from_s: float, to_s: float) -> pl.DataFrame:
    """A row per request: `flight_id`, `at`, and the inputs."""
    asked = [
        {"flight_id": found.flight_id, "at": found.at_s, **found.inputs} for found in schedule.requests(from_s, to_s)
    ]
    return _with_instants(pl.DataFrame(asked, infer_schema_length=None), "at")


def movements(schedule: Schedule, from_s: float, until_s: float) -> pl.DataFrame:
    """A row per message, in order of availability: `at` is when it arrived."""
    at, places, kinds = schedule.movements
    low, high = np.searchsorted(at, (from_s, until_s))
    rows = []
    for at_s, place, kind in zip(
        at[low:high].tolist(), places[low:high].tolist(), kinds[low:high].tolist(), strict=True
    ):
        row, scheduled_s = schedule.rows[place], schedule.scheduled_s(place, kind)
        common = {name: row[name] for name in ("carrier", "origin", "dest", "tail")}
        rows.append(
            {"kind": KINDS[kind], "flight": schedule.flight_ids[place], **common, "scheduled": scheduled_s, "at": at_s}
        )
    return _with_instants(pl.DataFrame(rows, infer_schema_length=None), "scheduled", "at")


def weather(schedule: Schedule, from_s: float, until_s: float) -> pl.DataFrame:
    """A row per hour and airport; `published_at` is when it arrived, `observed_at` the hour that it describes."""
    published_s = pl.Series("published_at", schedule.weather_s)
    frame = schedule.weather.drop("hour").with_columns(published_s)
    frame = frame.with_columns(observed_at=pl.col("published_at") - WEATHER_PUBLISHED_AFTER_S)
    is_in = (published_s >= from_s) & (published_s < until_s)
    return _with_instants(frame.filter(is_in), "observed_at", "published_at").with_columns(
        pl.col("origin").cast(pl.String)
    )


def _with_instants(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The frame with these columns as timestamps instead of seconds since the epoch."""
    instant = pl.Datetime("us", "UTC")
    return frame.with_columns([(pl.col(name) * _US).round().cast(pl.Int64).cast(instant) for name in names])
