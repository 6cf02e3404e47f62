"""The typed events that the pipelines make from the airport's feed."""

from datetime import datetime

import msgspec


class Departure(msgspec.Struct):
    """A flight left the gate, or was cancelled (known at its scheduled departure, our assumption)."""

    departed_at: datetime
    flight_id: str
    carrier: str
    origin: str
    cancelled: bool
    delay_min: float | None = None


class Landing(msgspec.Struct):
    """A flight arrived; one that was diverted is known as such three hours after its schedule (our assumption)."""

    landed_at: datetime
    flight_id: str
    carrier: str
    origin: str
    dest: str
    tail: str | None = None
    delay_min: float | None = None


class Weather(msgspec.Struct):
    """One hour at one airport of departure; published, and so usable, one hour after its stamp."""

    observed_at: datetime
    origin: str
    temp_f: float | None = None
    dew_point_f: float | None = None
    humidity_percent: float | None = None
    wind_mph: float | None = None
    gust_mph: float | None = None
    precipitation_in: float | None = None
    pressure_mb: float | None = None
    visibility_miles: float | None = None
