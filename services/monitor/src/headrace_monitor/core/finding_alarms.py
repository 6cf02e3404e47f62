"""Which alarm belongs to a finding: drift, skew and missing labels have one per deployment, the others one per subject.

The subject of a finding is the source, the column or the version that it is about. A finding that a version is worse than
the prior raises no alarm by itself: only its `Concern` tells whether anybody has to act.
"""

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.hosting.alerts import OF_FINDINGS, Alarm
from headrace_monitor.core import worse_than_prior
from headrace_monitor.core.facts import Concern, GaveUp

# Kinds of which a deployment has at most one finding.
ONCE = ("drift", "skew", "labels")

# The command that shows more, by the kind of the finding.
_COMMANDS = {
    "drift": "headrace topic tail monitor.findings",
    "skew": "headrace topic tail monitor.findings",
    "traffic": "headrace feature list",
    "contract": "headrace topic tail monitor.findings",
    "labels": "headrace outcome list {deployment}",
    "worse_than_prior": "headrace explain {deployment}",
}

Alarms = list[Alarm]


def alarms_of(fact: object) -> tuple[Alarms, Alarms]:
    """The alarms that a fact begins, and those that it ends; none of either for a fact that is not about a finding."""
    match fact:
        case FindingOpened() if fact.kind != worse_than_prior.KIND:
            return [alarm_of(fact)], []
        case FindingResolved():
            return [], [alarm_of(fact), unhelpful(fact)]
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
    summary = found.summary if isinstance(found, FindingOpened) else ""
    command = _COMMANDS[found.kind].format(deployment=found.deployment)
    return Alarm(OF_FINDINGS[found.kind], about, "warning", summary, command)


def unhelpful(found: FindingOpened | FindingResolved, summary: str = "") -> Alarm:
    """Retraining does not help against a finding; the alarm ends with the finding."""
    about = {"deployment": found.deployment, "finding": found.kind} | ({"about": found.about} if found.about else {})
    command = f"headrace training list --deployment {found.deployment}"
    return Alarm("RetrainingUnhelpful", about, "warning", summary, command)
