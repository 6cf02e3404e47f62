"""The flights with a careful release: a new version is shadowed, then answers 1, 5, 25 and 100 % of the flights."""

from dataclasses import replace

from headrace.project import Canary
from headrace_flights import project as flights

flight_delay = replace(
    flights.flight_delay,
    rollout=Canary(shares=[0.01, 0.05, 0.25, 1], step="2d", shadow_first="2d", min_decisions=10, label_delay="11h"),
)
project = replace(flights.project, deployments=[flight_delay])
