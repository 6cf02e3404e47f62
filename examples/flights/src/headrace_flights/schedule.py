"""The messages and requests of the year, in order of availability.

Instants are seconds since the epoch. All data is prepared as columns; records are made chunk by chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

EPOCH_S = datetime(2013, 1, 1, tzinfo=UTC).timestamp()
ASKED_BEFORE_S = 3600.0
DIVERTED_KNOWN_AFTER_S = 3 * 3600.0
WEATHER_PUBLISHED_AFTER_S = 3600.0
NEW_YORK = ZoneInfo("America/New_York")

DEPARTED, CANCELLED, LANDED, DIVERTED = range(4)
KINDS = ("departed", "cancelled", "landed", "diverted")


@dataclass(frozen=True)
class Asked:
    """One request: which flight, when, and with which inputs."""

    flight_id: str
    at_s: float
    inputs: dict[str, Any]


class Schedule:
    """All flights and weather between two instants of request."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(str(resources.files("headrace_flights"))).parent.parent / "data"
        self.flights = pl.read_parquet(folder / "flights.parquet")
        self.weather = pl.read_parquet(folder / "weather.parquet")

    @cached_property
    def departs_s(self) -> NDArray[np.float64]:
        """Scheduled departure per flight."""
        return EPOCH_S + self.flights["departs_min"].to_numpy() * 60.0

    @cached_property
    def asked_s(self) -> NDArray[np.float64]:
        """Instant of each flight's request; ascending."""
        return self.departs_s - ASKED_BEFORE_S

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The flights as dictionaries."""
        return self.flights.to_dicts()

    @cached_property
    def flight_ids(self) -> list[str]:
        """`2013-04-01/AA/1141/JFK`, by New York's date."""
        days = [datetime.fromtimestamp(at, NEW_YORK).date().isoformat() for at in self.departs_s]
        return [
            f"{day}/{row['carrier']}/{row['flight']}/{row['origin']}" for day, row in zip(days, self.rows, strict=True)
        ]

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """Scheduled departures of the same origin within 30 minutes, the flight itself included."""
        counts = np.zeros(len(self.departs_s), dtype=np.int64)
        origins = self.flights["origin"].cast(pl.String).to_numpy()
        for origin in np.unique(origins):
            mine = np.flatnonzero(origins == origin)
            times = self.departs_s[mine]
            counts[mine] = np.searchsorted(times, times + 1800, side="right") - np.searchsorted(
                times, times - 1800, side="left"
            )
        return counts

    def asked(self, place: int) -> Asked:
        """The request for the flight at `place` of the schedule."""
        row = self.rows[place]
        local = datetime.fromtimestamp(self.departs_s[place], NEW_YORK)
        inputs = {
            "distance_miles": row["distance_miles"],
            "hour": local.hour,
            "minute": local.minute,
            "day_of_week": local.isoweekday(),
            "block_min": row["block_min"],
            "departures_near": int(self.near[place]),
            "carrier": row["carrier"],
            "origin": row["origin"],
            "dest": row["dest"],
            "tail": row["tail"],
        }
        return Asked(self.flight_ids[place], float(self.asked_s[place]), inputs)

    @cached_property
    def movements(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Available-at, flight and kind of every movement message, in order of availability."""
        departs = self.departs_s
        arrives = departs + self.flights["block_min"].to_numpy() * 60.0
        out_delay = self.flights["departure_delay_min"].to_numpy().astype(np.float64)
        in_delay = self.flights["arrival_delay_min"].to_numpy().astype(np.float64)
        flew, landed = ~np.isnan(out_delay), ~np.isnan(in_delay)
        first_s = np.where(flew, departs + out_delay * 60, departs)
        first_kind = np.where(flew, DEPARTED, CANCELLED)
        second_s = np.where(landed, arrives + in_delay * 60, arrives + DIVERTED_KNOWN_AFTER_S)[flew]
        second_kind = np.where(landed, LANDED, DIVERTED)[flew]
        places = np.arange(len(departs))
        at = np.concatenate([first_s, second_s])
        order = np.argsort(at, kind="stable")
        return (
            at[order],
            np.concatenate([places, places[flew]])[order],
            np.concatenate([first_kind, second_kind])[order],
        )

    def movement(self, at_s: float, place: int, kind: int) -> tuple[str, bytes]:
        """Key and JSON of a movement message."""
        row, flight = self.rows[place], self.flight_ids[place]
        body = {
            "kind": KINDS[kind],
            "flight": flight,
            "carrier": row["carrier"],
            "origin": row["origin"],
            "dest": row["dest"],
            "tail": row["tail"],
            "scheduled": iso(self.scheduled_s(place, kind)),
            "at": iso(at_s),
        }
        return flight, msgspec.json.encode(body)

    def scheduled_s(self, place: int, kind: int) -> float:
        """The scheduled instant of a movement."""
        block_s = self.rows[place]["block_min"] * 60.0
        return float(self.departs_s[place]) + (block_s if kind in (LANDED, DIVERTED) else 0.0)

    @cached_property
    def weather_s(self) -> NDArray[np.float64]:
        """When each weather row is published; ascending."""
        return EPOCH_S + self.weather["hour"].to_numpy() * 3600.0 + WEATHER_PUBLISHED_AFTER_S

    @cached_property
    def _weather_rows(self) -> list[dict[str, Any]]:
        return self.weather.drop("hour").to_dicts()

    def weather_row(self, place: int) -> tuple[str, bytes]:
        """Key and JSON of a weather message."""
        row = self._weather_rows[place]
        observed = iso(self.weather_s[place] - WEATHER_PUBLISHED_AFTER_S)
        return row["origin"], msgspec.json.encode({"observed_at": observed, **row})

    def requests(self, from_s: float, to_s: float) -> Iterator[Asked]:
        """Requests with an instant in [from_s, to_s)."""
        low, high = np.searchsorted(self.asked_s, (from_s, to_s))
        return (self.asked(place) for place in range(low, high))


def iso(at_s: float) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
