"""Which alarm a finding is: drift, skew and missing labels once per deployment, the others once per source, column or version."""

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace_monitor.core.alarm import Alarm

# Kinds that a deployment has one of at the most.
ONCE = ("drift", "skew", "labels")

_ALARMS = {
    "drift": ("ModelDrift", "headrace topic tail monitor.findings"),
    "skew": ("FeatureSkew", "headrace topic tail monitor.findings"),
    "traffic": ("SourceStopped", "headrace feature list"),
    "contract": ("SourceChanged", "headrace topic tail monitor.findings"),
    "labels": ("LabelsMissing", "headrace outcome list {deployment}"),
    "worse_than_prior": ("ModelWorseThanPrior", "headrace explain {deployment}"),
}


def alarm_of(found: FindingOpened | FindingResolved) -> Alarm:
    """The alarm that begins with a finding, and ends with it."""
    name, command = _ALARMS[found.kind]
    about = {"about": found.about} if found.about and found.kind not in ONCE else {}
    summary = found.summary if isinstance(found, FindingOpened) else ""
    return Alarm(
        name, {"deployment": found.deployment} | about, "warning", summary, command.format(deployment=found.deployment)
    )


def unhelpful(found: FindingOpened | FindingResolved, summary: str = "") -> Alarm:
    """Retraining does not bring a finding's figure back; it ends with the finding."""
    about = {"deployment": found.deployment, "finding": found.kind} | ({"about": found.about} if found.about else {})
    return Alarm(
        "RetrainingUnhelpful", about, "warning", summary, f"headrace training list --deployment {found.deployment}"
    )
