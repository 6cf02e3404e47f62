"""The flights with a careful release: a new version is shadowed, then answers 1, 5, 25 and 100 % of the flights."""

from dataclasses import replace

from headrace.project import Canary, Guardrail
from headrace_flights import project as flights

flight_delay = replace(
    flights.flight_delay,
    rollout=Canary(
        shares=[0.01, 0.05, 0.25, 1],
        step="2d",
        shadow_first="2d",
        min_decisions=10,
        label_delay="11h",  # 99.5 % of the flights have landed by then
        margin=0.01,  # the default, a tenth of what the champion gains, takes months of stormy days
        guardrails=[
            Guardrail("errors", 0.02, consecutive=20),
            Guardrail("invalid_scores", 0.01, consecutive=20),
            Guardrail("latency", 3.0),
            Guardrail("degraded", 0.05),
            # A storm moves scores as far as a fault does, so this guardrail only reports, and the labels decide.
            Guardrail("distribution", 0.5, dry_run=True),
        ],
    ),
)
project = replace(flights.project, deployments=[flight_delay])
