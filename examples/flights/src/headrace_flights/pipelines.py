"""Turns the airport's movement messages into departures, landings and outcomes, and weather rows into weather events."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from headrace.project import Outcome, outcomes, pipeline
from headrace_flights.events import Departure, Landing, Weather
from headrace_flights.sources import departures, landings, movements, weather, weather_feed

LATE_AFTER = timedelta(minutes=15)

Message = dict[str, Any]


@pipeline(movements, to=[departures, landings, outcomes("flight-delay")])
async def follow_flights(messages: AsyncIterator[Message]) -> AsyncIterator[Departure | Landing | Outcome]:
    """A flight is late when it arrives more than 15 minutes after its schedule, is cancelled, or is diverted."""
    async for message in messages:
        at = datetime.fromisoformat(message["at"])
        delay = at - datetime.fromisoformat(message["scheduled"])
        match message["kind"]:
            case "departed":
                yield departure(message, at, delay)
            case "cancelled":
                yield departure(message, at, None)
                yield Outcome(message["flight"], 1.0, at)
            case "landed":
                yield landing(message, at, delay)
                yield Outcome(message["flight"], float(delay > LATE_AFTER), at)
            case "diverted":
                yield landing(message, at, None)
                yield Outcome(message["flight"], 1.0, at)
            case kind:
                raise ValueError(f"kind must be departed, cancelled, landed or diverted, got {kind!r}")


@pipeline(weather_feed, to=[weather])
async def read_weather(messages: AsyncIterator[Message]) -> AsyncIterator[Weather]:
    """Turn each hourly row into an event, unchanged."""
    async for message in messages:
        yield msgspec.convert(message, Weather)


def departure(message: Message, at: datetime, delay: timedelta | None) -> Departure:
    """The departure of a message; without a delay it was cancelled."""
    minutes = None if delay is None else delay / timedelta(minutes=1)
    return Departure(at, message["flight"], message["carrier"], message["origin"], delay is None, minutes)


def landing(message: Message, at: datetime, delay: timedelta | None) -> Landing:
    """The landing of a message; without a delay it was elsewhere."""
    minutes = None if delay is None else delay / timedelta(minutes=1)
    return Landing(
        at, message["flight"], message["carrier"], message["origin"], message["dest"], message.get("tail"), minutes
    )
