"""Groups: findings that belong together raise one alert, which says how many they are. A storm pages once.

A finding joins a group of its deployment that is open, whose alert is at least as severe, and that has the same `group`; where
it names none, the same kind, if it was found within an hour of event time of the one that began the group. So what breaks
later has an alert of its own. The alert bears the labels of the finding that began the group, and ends with the last of them.
A version that is worse than the prior has an alert of its own (`finding_alarms`).

The group's key, its beginning and its number stand in the annotations of the alert: with the open findings that is enough
to go on after a restart.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.hosting.alerts import Alarm
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.log.envelope import format_instant, parse_instant
from headrace_monitor.core.alarm_table import AlarmTable
from headrace_monitor.core.finding_alarms import alarm_of, is_grouped

# How far apart, in event time, findings of one kind that name no group may be.
WITHIN_S = 3_600.0
# How often the number of a group's findings is written again, by the monotonic clock.
COUNT_EVERY_S = 10.0
_GROUP, _FROM, _COUNT = "group", "group_from", "findings"
_RANKS = {"warning": 0, "critical": 1}


@dataclass
class Group:
    """One group. `named`: the findings name it, so that time does not matter. `from_s`: event time of the one that began it.

    `open`: the ids of its open findings. `count`: all findings that ever joined; `written`: the number in its alert.
    """

    alarm: Alarm
    key: str
    named: bool
    from_s: float
    open: set[str] = field(default_factory=set)
    count: int = 0
    written: int = 1

    def takes(self, found: FindingOpened) -> bool:
        """Whether a finding of the same deployment joins."""
        if _RANKS[self.alarm.severity] < _RANKS[alarm_of(found).severity]:
            return False
        if found.group:
            return self.named and self.key == found.group
        return not self.named and self.key == found.kind and abs(found.at_s - self.from_s) <= WITHIN_S

    def join(self, ident: str) -> None:
        """One more finding."""
        self.count += ident not in self.open
        self.open.add(ident)


class FindingGroups:
    """The open groups, by the fingerprint of their alert."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._written_s = float("-inf")

    def alarms_of(self, fact: object) -> tuple[list[Alarm], list[Alarm]]:
        """The alarms of groups that a fact begins, and those that it ends."""
        match fact:
            case FindingOpened() if is_grouped(fact):
                return self._open(fact), []
            case FindingResolved() if is_grouped(fact):
                return [], self._resolve(fact)
            case _:
                return [], []

    def on_start(self, found: Iterable[FindingOpened], table: AlarmTable) -> None:
        """Go on with the groups of the alerts that fire. `found`: the findings that are open."""
        firing = [alert for alert in table.firing if _FROM in alert.annotations]
        self._groups = {alert.fingerprint: _group_of(alert) for alert in firing}
        for one in filter(is_grouped, found):
            group = self._group_for(one)
            if group is None and table.is_firing(alarm_of(one).fingerprint):
                group = self._begin(one)
            if group is not None:
                group.open.add(one.finding)
        for group in self._groups.values():
            group.count = max(group.written, len(group.open))

    def counted(self, table: AlarmTable, now_s: float) -> list[AlertChanged]:
        """The alerts of groups that grew since they were written. `now_s`: of the monotonic clock."""
        self._groups = {found: group for found, group in self._groups.items() if table.is_firing(found)}
        grown = {found: group for found, group in self._groups.items() if group.count > group.written}
        if not grown or now_s - self._written_s < COUNT_EVERY_S:
            return []
        self._written_s = now_s
        for group in grown.values():
            group.written = group.count
        return [_with_count(table.alerts[found], group) for found, group in grown.items()]

    def _open(self, found: FindingOpened) -> list[Alarm]:
        group = self._group_for(found)
        begins = group is None
        group = group or self._begin(found)
        group.join(found.finding)
        return [group.alarm] if begins else []

    def _resolve(self, fact: FindingResolved) -> list[Alarm]:
        known = next((found for found, group in self._groups.items() if fact.finding in group.open), None)
        if known is None:
            # It opened before groups were kept, or with severity `info`.
            alarm = alarm_of(fact)
            return [] if alarm.fingerprint in self._groups else [alarm]
        group = self._groups[known]
        group.open.discard(fact.finding)
        if group.open:
            return []
        del self._groups[known]
        return [group.alarm]

    def _group_for(self, found: FindingOpened) -> Group | None:
        """The group that the finding joins; None where it begins one.

        The subject of a group's first finding may be found anew while others are open: it joins too, since its alert fires.
        """
        same = self._groups.get(alarm_of(found).fingerprint)
        if same is not None:
            return same
        here = [group for group in self._groups.values() if group.alarm.about["deployment"] == found.deployment]
        return next((group for group in here if group.takes(found)), None)

    def _begin(self, found: FindingOpened) -> Group:
        alarm, key = alarm_of(found), found.group or found.kind
        from_s = min(max(found.at_s, EARLIEST_S), LATEST_S)
        notes = {_GROUP: key, _FROM: format_instant(from_s), _COUNT: "1"}
        if found.group:
            notes["group_named"] = "yes"
        alarm = Alarm(alarm.name, alarm.about, alarm.severity, alarm.summary, alarm.command, notes)
        group = Group(alarm, key, bool(found.group), from_s)
        self._groups[alarm.fingerprint] = group
        return group


def _group_of(alert: AlertChanged) -> Group:
    """The group of an alert that was written before this start."""
    labels, notes = dict(alert.labels), alert.annotations
    alarm = Alarm(labels.pop("alertname"), labels, labels.pop("severity"), notes["summary"], notes["command"])
    count = int(notes.get(_COUNT, "1"))
    named = "group_named" in notes
    return Group(alarm, notes[_GROUP], named, parse_instant(notes[_FROM]), count=count, written=count)


def _with_count(alert: AlertChanged, group: Group) -> AlertChanged:
    description = f"it stands for {group.count:,} findings of the group {group.key!r}"
    return replace(alert, annotations={**alert.annotations, "description": description, _COUNT: str(group.count)})
