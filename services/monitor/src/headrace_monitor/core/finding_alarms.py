"""Which alarm belongs to a finding: drift, skew and missing labels have one per deployment, the others one per subject.

The subject of a finding is the source, the column or the version that it is about. A finding that a version is worse than
the prior raises no alarm by itself: only its `Concern` tells whether anybody has to act. One of severity `info` raises none.
Findings that belong together share an alarm, see `finding_groups`.
"""

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.hosting.alerts import Alarm, alarm_name
from headrace_monitor.core import worse_than_prior
from headrace_monitor.core.facts import Concern, GaveUp

# Kinds of which a deployment has at most one finding.
ONCE = ("drift", "skew", "labels")
# The severity of an alert, by that of its finding. One of `info` has no alert.
SEVERITIES = {"page": "critical", "warning": "warning"}

# The command that shows more, by the kind of the finding.
_COMMANDS = {
    "drift": "headrace finding show {deployment}",
    "skew": "headrace finding show {deployment}",
    "traffic": "headrace feature list",
    "contract": "headrace finding show {deployment}",
    "labels": "headrace outcome list {deployment}",
    "worse_than_prior": "headrace explain {deployment}",
}
# Kinds of findings that call nobody by themselves.
_SILENT = (worse_than_prior.KIND, "inputs")

Alarms = list[Alarm]


def is_grouped(found: FindingOpened | FindingResolved) -> bool:
    """Whether the finding raises its alarm by itself, and so belongs to a group."""
    is_silent = isinstance(found, FindingOpened) and found.severity not in SEVERITIES
    return found.kind not in _SILENT and not is_silent


def alarms_of(fact: object) -> tuple[Alarms, Alarms]:
    """The alarms that a fact begins, and those that it ends, beside those of groups."""
    match fact:
        case FindingResolved() if fact.kind == worse_than_prior.KIND:
            return [], [alarm_of(fact), unhelpful(fact)]
        case FindingResolved():
            return [], [unhelpful(fact)]
        case Concern(found, is_on):
            return ([alarm_of(found)], []) if is_on else ([], [alarm_of(found)])
        case GaveUp(found, summary):
            return [unhelpful(found, summary)], []
        case _:
            return [], []


def alarm_of(found: FindingOpened | FindingResolved) -> Alarm:
    """The alarm of a finding."""
    about = {"deployment": found.deployment}
    if found.about and found.kind not in ONCE:
        about["about"] = found.about
    summary, severity = "", "warning"
    if isinstance(found, FindingOpened):
        summary, severity = found.summary, SEVERITIES.get(found.severity, severity)
    command = _COMMANDS[found.kind].format(deployment=found.deployment)
    return Alarm(alarm_name(found.kind, found.about), about, severity, summary, command)


def unhelpful(found: FindingOpened | FindingResolved, summary: str = "") -> Alarm:
    """Retraining does not help against a finding; the alarm ends with the finding."""
    about = {"deployment": found.deployment, "finding": found.kind} | ({"about": found.about} if found.about else {})
    command = f"headrace training list --deployment {found.deployment}"
    return Alarm("RetrainingUnhelpful", about, "warning", summary, command)
