"""Which alarm a finding is: drift and skew once per deployment, the others once per source or column."""

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace_monitor.core.alarm import Alarm

_ALARMS = {
    "drift": ("ModelDrift", "headrace topic tail monitor.findings"),
    "skew": ("FeatureSkew", "headrace topic tail monitor.findings"),
    "traffic": ("SourceStopped", "headrace feature list"),
    "contract": ("SourceChanged", "headrace topic tail monitor.findings"),
}


def alarm_of(found: FindingOpened | FindingResolved) -> Alarm:
    """The alarm that begins with a finding, and ends with it."""
    name, command = _ALARMS[found.kind]
    about = {"about": found.about} if found.kind in ("traffic", "contract") else {}
    summary = found.summary if isinstance(found, FindingOpened) else ""
    return Alarm(name, {"deployment": found.deployment} | about, "warning", summary, command)
