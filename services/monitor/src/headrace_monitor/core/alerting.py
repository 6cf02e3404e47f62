"""Alerting: which alerts begin and end with each message, and with each look at what services report.

Each kind of alarm is decided in a module of its own (see the table in `alarm_table`); here they meet the table, which knows
what fires already.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened
from headrace.events.registry import Route
from headrace.hosting.alerts import OF_SUPERVISOR, Alarm, is_watchdog, linked
from headrace.log.envelope import parse_instant
from headrace.step import Step
from headrace_monitor.core import alarm_table, finding_alarms, instance_alarms, rollout_alarms, training_alarms
from headrace_monitor.core.alarm_table import AlarmStep, AlarmTable
from headrace_monitor.core.dead_letters import INSTANT_FIELDS, DeadLetters
from headrace_monitor.core.facts import Concern, Fact, GaveUp, InstantRefused, MonitoringFailed, Refused
from headrace_monitor.core.finding_groups import FindingGroups
from headrace_monitor.core.liveness import OF_STATE, Liveness
from headrace_monitor.core.monitoring_failures import MonitoringFailures, monitoring_failed
from headrace_monitor.core.now import Now
from headrace_monitor.core.pages import Pages
from headrace_monitor.core.serving_alarms import OF_INSTANCES, InferenceFact, ServingAlarms
from headrace_monitor.core.silences import Silences
from headrace_monitor.core.watchdog import Watchdog

# An alert about instances is ended by their reports only when it is older than this: reports come each second.
_SETTLED_S = 15.0


class Alerting:
    """The alarm table, what is remembered to change it, and the pages sent.

    `liveness`: what services report; `silences`: those that are set. Both are kept up to date by others. `runbook_url`: where
    the folder of runbooks can be read, "" for nowhere.
    """

    def __init__(self, liveness: Liveness, silences: Silences | None = None, runbook_url: str = "") -> None:
        self.table, self._runbook_url = AlarmTable(), runbook_url
        self._groups, self.watchdog = FindingGroups(), Watchdog()
        self.failures = MonitoringFailures()
        self.pages = Pages()
        self._liveness, self._dead, self._serving = liveness, DeadLetters(), ServingAlarms()
        self._silences = silences or Silences()

    # history

    def on_history(self, alert: AlertChanged, now: Now) -> None:
        """An alert as it was written before this start. A dead letter counts as if it had come now.

        The supervisor's own are left out: it alone knows when they end.
        """
        if is_watchdog(alert):
            return self.watchdog.on_history(alert)
        if alert.labels.get("alertname") in OF_SUPERVISOR:
            return None
        self.table = alarm_table.applied(self.table, [alert])
        self.pages.note(alert)
        self._serving.on_history(alert)
        if alert.labels.get("alertname") == "DeadLettered" and alert.status == "firing":
            self._dead.add(alert.labels["service"], now.monotonic_s, self._liveness)
        return None

    def on_start(self, found: Iterable[FindingOpened]) -> None:
        """The history is read. `found`: the findings that are open."""
        self._groups.on_start(found, self.table)

    # messages

    def on_registry_fact(self, fact: Any, now: Now) -> AlarmStep:
        """A fact of the registry: about a rollout, or about something that raises no alarm."""
        changed = self._change(*rollout_alarms.alarms_of(fact), now)
        over = rollout_alarms.ended_by_promotion(fact, self.table.firing)
        ended = self._taken(alarm_table.end(self.table, over, now.wall_s), now)
        return Step(self.table, changed.facts + ended.facts)

    def on_inference_fact(self, fact: InferenceFact, now: Now) -> AlarmStep:
        """An inference instance reported a change of its state."""
        return self._change(*self._serving.alarms_of(fact), now)

    def on_training(self, fact: Any, asked: Container[str], now: Now) -> AlarmStep:
        """A fact of the trainer about a monitored deployment. `asked`: the ids of what the monitor requested for it."""
        return self._change(*training_alarms.alarms_of(fact, asked), now)

    def on_route(self, route: Route) -> None:
        """Note which versions the route of a deployment names now."""
        self._serving.on_route(route)

    def on_dead_letter(self, service: str, field: str | None, topic: str, now: Now) -> AlarmStep:
        """A record was dead-lettered by a service.

        `field`: the field that it was refused for, None when none is named; `topic`: where the record came from, without the
        namespace.
        """
        step = self._change(self._dead.add(service, now.monotonic_s, self._liveness), (), now)
        if field not in INSTANT_FIELDS:
            return step
        return Step(self.table, step.facts + self.on_refused_instant(topic, now).facts)

    def on_refused_instant(self, topic: str, now: Now) -> AlarmStep:
        """A record of a topic was refused because its instant lies too far ahead. `topic`: without the namespace."""
        alarm = self._dead.add_refused_instant(topic, now.monotonic_s)
        return self._change([] if alarm is None else [alarm], (), now)

    # what the other parts of the core decided

    def published(self, facts: Iterable[Fact], now: Now) -> list[Any]:
        """The facts that are to be published, in order, each followed by the alerts that begin or end with it.

        Facts that only lead to alarms (`GaveUp`, `Concern`, `MonitoringFailed`, `InstantRefused`) and refused records are left
        out.
        """
        found: list[Any] = []
        for fact in facts:
            match fact:
                case InstantRefused(topic):
                    found += self.on_refused_instant(topic, now).facts
                case MonitoringFailed():
                    found += self.on_failure(fact, now).facts
                case Refused():
                    pass
                case _:
                    found += [] if isinstance(fact, GaveUp | Concern) else [fact]
                    for begun, ended in (self._groups.alarms_of(fact), finding_alarms.alarms_of(fact)):
                        found += self._change(begun, ended, now).facts
        return found

    def is_news(self, failed: MonitoringFailed) -> bool:
        """Whether the same failure, for the same reason, is not on yet."""
        return not self.failures.is_known(failed.deployment, failed.part, _reason_of(failed))

    def on_failure(self, failed: MonitoringFailed, now: Now) -> AlarmStep:
        """A part of a deployment's monitoring raised an error."""
        why = _reason_of(failed)
        self.failures.add(failed.deployment, failed.part, why, now.monotonic_s)
        return self._change([monitoring_failed(failed.deployment, failed.part, why)], (), now)

    def on_gone(self, deployments: Sequence[str], now: Now) -> AlarmStep:
        """These deployments are declared no more: all of their alerts end."""
        over = [alert.fingerprint for alert in self.table.firing if alert.labels.get("deployment") in deployments]
        return self._taken(alarm_table.end(self.table, over, now.wall_s), now)

    # the look at what services report

    def due(self, monitored: Container[str], now: Now) -> list[AlertChanged]:
        """What a look gives, and the dead-man record when it is time for it."""
        return [*self.look(monitored, now).facts, *map(self._linked, self.watchdog.due(*now))]

    def look(self, monitored: Container[str], now: Now) -> AlarmStep:
        """Which alerts begin and end by what services report now. `monitored`: the deployments that have windows."""
        on = [
            *self._liveness.state_alarms(),
            *instance_alarms.alarms(self._liveness),
            *self.failures.alarms(monitored, now.monotonic_s),
        ]
        of_reports = (*OF_STATE, *instance_alarms.NAMES, "MonitoringFailed")
        # NB: while no report was read (at the start) nothing is known, so nothing may end.
        is_known = self._liveness.read_to_s > 0
        steps = [
            self._change(*self._liveness.service_alarms(), now),
            self._change((), self._dead.pop_over(now.monotonic_s, self._liveness), now),
            self._taken(alarm_table.set_to(self.table, on, of_reports, now.wall_s, may_end=is_known), now),
        ]
        steps.append(self._taken(alarm_table.end(self.table, self._over_on_instances(), now.wall_s), now))
        steps.append(self._taken(Step(self.table, tuple(self._groups.counted(self.table, now.monotonic_s))), now))
        steps.append(self._taken(Step(self.table, tuple(self._silences.changed(self.table.firing, now.wall_s))), now))
        return Step(self.table, tuple(alert for step in steps for alert in step.facts))

    def _over_on_instances(self) -> list[str]:
        of_instances = [alert for alert in self.table.firing if alert.labels["alertname"] in OF_INSTANCES]
        settled = [
            alert for alert in of_instances if self._liveness.read_to_s - parse_instant(alert.starts_at) > _SETTLED_S
        ]
        return self._serving.over(settled, self._liveness.live("inference"))

    def _change(self, begun: Iterable[Alarm], ended: Iterable[Alarm], now: Now) -> AlarmStep:
        return self._taken(alarm_table.change(self.table, begun, ended, now.wall_s), now)

    def _taken(self, step: AlarmStep, now: Now) -> AlarmStep:
        """Keep the table; what changed in it bears the mark of the silence that covers it now."""
        alerts = tuple(self._linked(self._silences.marked(alert, now.wall_s)) for alert in step.facts)
        self.table = alarm_table.applied(step.state, alerts)
        for alert in alerts:
            self.pages.note(alert)
        return Step(self.table, alerts)

    def _linked(self, alert: AlertChanged) -> AlertChanged:
        return linked(alert, self._runbook_url)


def _reason_of(failed: MonitoringFailed) -> str:
    return f"{type(failed.error).__name__}: {failed.error}"
