"""The inputs: two raw streams, and the three sources that the pipelines make from them."""

from headrace.project import RawStream, Source
from headrace_flights.events import Departure, Landing, Weather

movements = RawStream("movements", format="json")
weather_feed = RawStream("weather", format="json")

departures = Source("departures", event=Departure, event_time="departed_at", key="origin")
landings = Source("landings", event=Landing, event_time="landed_at", key="carrier")
weather = Source("weather", event=Weather, event_time="observed_at", key="origin", available_after="1h")
