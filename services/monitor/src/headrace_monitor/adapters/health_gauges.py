"""What the monitor reports of itself beyond the common: how much its states hold, and what came too late."""

from headrace.hosting.health import Health
from headrace_monitor.core.monitoring import Monitoring


def report(health: Health, core: Monitoring) -> None:
    """Set the gauges of the states that grow, and the counts of what came too late, per deployment."""
    for counts in (health.late_requests, health.late_outcomes):
        for name in [name for name in counts if name not in core.deployments.declared]:
            del counts[name]
    for name, found in core.deployments.watched.items():
        if found.windows.late_requests:
            health.late_requests[name] = found.windows.late_requests
        if found.windows.late_outcomes:
            health.late_outcomes[name] = found.windows.late_outcomes
    for state, (held_bytes, limit_bytes) in core.holds().items():
        health.holds(state, held_bytes, limit_bytes)
