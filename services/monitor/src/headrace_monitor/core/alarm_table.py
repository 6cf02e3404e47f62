"""The alarm table: which alerts there are, and when each begins and ends. An alert begins once per episode and ends once.

alert                  it begins when                                 it ends when                             decided in
---------------------  ---------------------------------------------  ---------------------------------------  -------------------
ServiceDown            no instance of a service reports, or it is     an instance reports                      liveness
                       restarted again and again
PartitionStopped       a service stopped at a record                  it goes on                               liveness
DeploymentDegraded     an instance answers by the fallback chain      no instance does                         liveness
TransactionOpen        an unfinished transaction blocks a partition   no instance reports it                   liveness
StateOverBound         a state is larger than its bound               it is not                                liveness
DeadLettered           a record was dead-lettered                     none for a minute, the service goes on   dead_letters
DeadLettersGrow        a hundred were within five minutes             with DeadLettered                        dead_letters
ClockSkew              ten instants too far ahead in five minutes     none for five minutes                    dead_letters
ConsumerLag            records wait, and an instance handles none     it handles some                          instance_alarms
InstanceNotReady       an instance is not ready for two minutes       it is ready, or ends                     instance_alarms
ReceiverAway           a receiver of alerts takes none for minutes    it takes them                            instance_alarms
TrainingFailed         a run failed, or ran into a limit              a run ends otherwise                     training_alarms
TrainingRefused        a retrain is refused, and waiting is no help   one is accepted                          training_alarms
MonitoringFailed       a deployment's windows or rollout could not    a window of it closes well, or nothing   monitoring_failures
                       be evaluated                                   failed for ten minutes
BreakerOpen            a breaker opens on an instance                 no instance has it open                  serving_alarms
Overload               an instance sheds load                         no instance does                         serving_alarms
VersionLoadFailed      an instance could not load a version           every instance has loaded it, or the     serving_alarms
                                                                      route names it no more
RolloutUnjudged        a rollout is paused for lack of verdicts       it goes on, or ends                      rollout_alarms
RolloutAwaitsApproval  only a person's approval is missing            it ends                                  rollout_alarms
RolloutRolledBack      a version was rolled back for harm (of each    a later rollout promotes its version     rollout_alarms
                       version)
RolloutAborted         a rollout ended because a wait ran out, or     the next one starts, or harm is shown    rollout_alarms
                       nothing decided it
ModelDrift, FeatureSkew, InputsBroken, SourceStopped                   all findings of its group are resolved  finding_alarms,
SourceChanged, LabelsMissing  a finding of that kind begins a group                                            finding_groups
ModelWorseThanPrior    a finding of that kind concerns the champion   it is resolved, or concerns no champion  finding_alarms
RetrainingUnhelpful    a finding asks for no more retrains            the finding is resolved                  finding_alarms
Watchdog               always: the dead-man record, not in the table  never                                    watchdog
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.events.alerts import AlertChanged
from headrace.hosting.alerts import Alarm, fire, resolve
from headrace.step import Step


@dataclass(frozen=True, slots=True)
class AlarmTable:
    """The newest state of every alert that ever began, by fingerprint."""

    alerts: Mapping[str, AlertChanged] = field(default_factory=dict)

    @property
    def firing(self) -> list[AlertChanged]:
        """The alerts that are on."""
        return [alert for alert in self.alerts.values() if alert.status == "firing"]

    def is_firing(self, fingerprint: str) -> bool:
        """Whether the alert is on."""
        known = self.alerts.get(fingerprint)
        return known is not None and known.status == "firing"


AlarmStep = Step[AlarmTable, AlertChanged]


def change(table: AlarmTable, begun: Iterable[Alarm], ended: Iterable[Alarm], now_s: float) -> AlarmStep:
    """Some alarms are on and others are over. What the table has already changes nothing.

    `now_s`: wall-clock seconds since the epoch, at which the alerts begin and end.
    """
    fresh: dict[str, Alarm] = {}
    for alarm in begun:
        # NB: several instances may report the same alarm: the first one of a fingerprint counts.
        if not table.is_firing(fingerprint := alarm.fingerprint):
            fresh.setdefault(fingerprint, alarm)
    alerts = [fire(alarm, now_s) for alarm in fresh.values()]
    over = end(applied(table, alerts), [alarm.fingerprint for alarm in ended], now_s)
    return Step(over.state, (*alerts, *over.facts))


def end(table: AlarmTable, fingerprints: Iterable[str], now_s: float) -> AlarmStep:
    """The alerts of these fingerprints are over; those that are not on are left alone."""
    resolved = [resolve(table.alerts[found], now_s) for found in dict.fromkeys(fingerprints) if table.is_firing(found)]
    return Step(applied(table, resolved), tuple(resolved))


def set_to(table: AlarmTable, on: Sequence[Alarm], names: Collection[str], now_s: float, *, may_end: bool) -> AlarmStep:
    """Of the alerts of these `names`, exactly the alarms in `on` are on. None is ended unless `may_end`."""
    begun = change(table, on, (), now_s)
    if not may_end:
        return begun
    wanted = {alarm.fingerprint for alarm in on}
    over = [alert.fingerprint for alert in begun.state.firing if alert.labels["alertname"] in names]
    ended = end(begun.state, [fingerprint for fingerprint in over if fingerprint not in wanted], now_s)
    return Step(ended.state, begun.facts + ended.facts)


def applied(table: AlarmTable, alerts: Sequence[AlertChanged]) -> AlarmTable:
    """The table after some alerts have begun, ended or changed their mark."""
    return AlarmTable({**table.alerts, **{alert.fingerprint: alert for alert in alerts}}) if alerts else table
