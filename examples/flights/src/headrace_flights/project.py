"""Will this flight be late? Asked one hour before departure, answered from what is known by then."""

from headrace.project import (
    Binary,
    BlueGreen,
    Category,
    Charts,
    Count,
    Deployment,
    FeatureView,
    Key,
    Last,
    Mean,
    Number,
    PageHinkley,
    Project,
    Retraining,
    Share,
    Training,
    beats_prior,
    not_worse_than_champion,
    previous,
    prior,
)
from headrace_flights.pipelines import follow_flights, read_weather
from headrace_flights.sources import departures, landings, movements, weather, weather_feed
from headrace_flights.train import build

origin = FeatureView("origin", source=departures, entity="origin", features={
    "delay_1h": Mean("delay_min", "1h"), "delay_3h": Mean("delay_min", "3h"), "delay_24h": Mean("delay_min", "24h"),
    "departed_3h": Count("3h"), "cancelled_3h": Share("cancelled", "3h")})  # fmt: skip
carrier = FeatureView("carrier", source=departures, entity="carrier", features={
    "delay_3h": Mean("delay_min", "3h"), "delay_24h": Mean("delay_min", "24h"), "departed_3h": Count("3h")})  # fmt: skip
carrier_here = FeatureView("carrier_here", source=departures, entity=("origin", "carrier"), features={
    "delay_3h": Mean("delay_min", "3h"), "departed_3h": Count("3h")})  # fmt: skip
dest = FeatureView("dest", source=landings, entity="dest", features={
    "delay_3h": Mean("delay_min", "3h"), "delay_24h": Mean("delay_min", "24h"), "landed_3h": Count("3h")})  # fmt: skip
carrier_landings = FeatureView("carrier_landings", source=landings, entity="carrier", features={
    "delay_24h": Mean("delay_min", "24h")})  # fmt: skip
everywhere = FeatureView("everywhere", source=landings, entity=(), features={
    "delay_3h": Mean("delay_min", "3h"), "delay_24h": Mean("delay_min", "24h"), "landed_3h": Count("3h")})  # fmt: skip
aircraft = FeatureView("aircraft", source=landings, entity="tail", features={"last_delay": Last("delay_min", "24h")})
sky = FeatureView("sky", source=weather, entity="origin", features={
    name: Last(name, "3h") for name in (
        "temp_f", "dew_point_f", "humidity_percent", "wind_mph", "gust_mph", "precipitation_in", "pressure_mb",
        "visibility_miles")})  # fmt: skip

flight_delay = Deployment(
    "flight-delay",
    unit="flight_id",
    label=Binary("late", horizon="24h", absent="unknown"),
    inputs=[
        Number("distance_miles", 10, 6000), Number("hour", 0, 23), Number("minute", 0, 59), Number("day_of_week", 1, 7),
        Number("block_min", 20, 800), Number("departures_near", 0, 200),
        Category("carrier"), Category("origin"), Category("dest"), Key("tail"),
    ],
    features=[
        origin.by("origin"), carrier.by("carrier"), carrier_here.by("origin", "carrier"), dest.by("dest"),
        carrier_landings.by("carrier"), everywhere.by(), aircraft.by("tail"), sky.by("origin"),
    ],
    feature_delay="15m",
    training=Training(build, history="180d", holdout="7d", embargo="1d", first_after="90d"),
    gates=[beats_prior(), not_worse_than_champion(margin=0.01)],
    monitoring=[Charts(pages="1 per month"), PageHinkley("log_loss", delta=0.02, threshold=0.8, min_windows=7)],
    retraining=Retraining(on=["drift"], cooldown="7d"),
    rollout=BlueGreen(shadow_previous=True),
    audit_share=0.1,
    fallback=[previous, prior(0.26)],
)  # fmt: skip

project = Project(
    "flights",
    raw=[movements, weather_feed],
    pipelines=[follow_flights, read_weather],
    sources=[departures, landings, weather],
    views=[origin, carrier, carrier_here, dest, carrier_landings, everywhere, aircraft, sky],
    deployments=[flight_delay],
)
