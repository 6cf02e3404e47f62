"""Once a second: which services are away, which alerts of state are on, what has gone quiet, and what is held."""

import math

from headrace.clock import Clock
from headrace.events.alerts import AlertChanged
from headrace.hosting.health import Health
from headrace.log.envelope import parse_instant
from headrace.log.port import Out
from headrace_monitor.alerts import Alerts
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.failing import Failing
from headrace_monitor.core.places import LIMIT_BYTES, Places
from headrace_monitor.core.services import MOST_ENDS, OF_STATE, Services, restarting, service_down
from headrace_monitor.core.serving import OF_INSTANCES, Serving
from headrace_monitor.core.sources import Sources
from headrace_monitor.letters import Letters
from headrace_monitor.rollouts import Rollouts

LOOK_EVERY_S = 1.0
# An alert of instances is only ended by what instances report when it is older than this: reports come each second.
_SETTLED_S = 15.0


class Around:
    """Looks by the monotonic clock."""

    def __init__(
        self, clock: Clock, services: Services, alerts: Alerts, letters: Letters, failing: Failing, serving: Serving
    ) -> None:
        self._clock, self._services, self._alerts, self._letters = clock, services, alerts, letters
        self._failing, self._serving = failing, serving
        self._looked_s = -math.inf

    def is_time(self) -> bool:
        """Whether a second is over since the last look; then this is one."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return False
        self._looked_s = now_s
        return True

    def look(self, deployments: Deployments) -> list[Out]:
        """Alerts that begin and end."""
        now_s, outs = self._clock.monotonic_s(), list[Out]()
        for service, is_down in self._services.down().items():
            alarm = service_down(service)
            if not is_down and (ends := self._services.ends(service)) >= MOST_ENDS:
                is_down, alarm = True, restarting(service, ends)
            outs += self._alerts.begin(alarm) if is_down else self._alerts.end(alarm.fingerprint)
        outs += self._letters.look(now_s)
        on = [*self._services.alarms(), *self._failing.alarms(deployments.watched, now_s)]
        # NB: while no report is known (at the start) nothing is.
        outs += self._alerts.set_to(on, (*OF_STATE, "MonitoringFailed"), may_end=self._services.read_to_s > 0)
        of_instances = [alert for alert in self._alerts.firing if alert.labels["alertname"] in OF_INSTANCES]
        settled = [alert for alert in of_instances if self._is_settled(alert)]
        for fingerprint in self._serving.gone(settled, self._services.live("inference")):
            outs += self._alerts.end(fingerprint)
        return outs

    def _is_settled(self, alert: AlertChanged) -> bool:
        return self._services.read_to_s - parse_instant(alert.starts_at) > _SETTLED_S


def tell_held(health: Health, deployments: Deployments, sources: Sources, rollouts: Rollouts, places: Places) -> None:
    """The gauges of what grows, and what came too late."""
    windows = {name: found.windows for name, found in deployments.watched.items()}
    for name, found in windows.items():
        if found.late_requests:
            health.late_requests[name] = found.late_requests
        if found.late_outcomes:
            health.late_outcomes[name] = found.late_outcomes
    limit = max((found.limit_bytes for found in windows.values()), default=0) * max(len(windows), 1)
    labels = [found.labels.held_bytes for found in windows.values() if found.labels is not None]
    health.holds("windows", sum(found.held_bytes for found in windows.values()), limit)
    health.holds("labels", sum(labels), limit)
    health.holds("events", sources.held_bytes, sources.limit_bytes)
    for state, (held, most) in rollouts.holds().items():
        health.holds(state, held, most)
    health.holds("places", places.held_bytes, LIMIT_BYTES)
