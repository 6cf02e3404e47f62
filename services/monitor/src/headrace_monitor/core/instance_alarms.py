"""Which alarms follow from what a living instance reports to fail.

alert               it is on while an instance reports
------------------  ---------------------------------------------------------------------------------------------------
ConsumerLag         that records wait and none was handled for 30 s in which it had a core (`progress`); an open transaction
                    that holds them back is `TransactionOpen` instead
ReceiverAway        that a receiver of alerts has taken none for minutes (`receiver:NAME`, of `headrace alert forward`)
InstanceNotReady    for two minutes that it is not ready, for a reason that no other alert is about

An instance judges itself: it knows whether it waited for a core, so a slow machine raises nothing. How long it was not ready
is measured by append time, as silence is (`liveness`).
"""

from collections.abc import Iterator

from headrace.events.ops import HealthReported
from headrace.hosting.alerts import Alarm
from headrace_monitor.core.liveness import Liveness

NAMES = ("ConsumerLag", "ReceiverAway", "InstanceNotReady")
UNREADY_S = 120.0
PROGRESS, RECEIVER, TRANSACTION = "progress", "receiver:", "transaction:"
# What has an alert of its own.
_KNOWN = (PROGRESS, RECEIVER, TRANSACTION, "stopped:", "state:")


def alarms(liveness: Liveness) -> list[Alarm]:
    """The alarms of `NAMES` that are on now."""
    found: list[Alarm] = []
    for report in liveness.live():
        found += _lag(report)
        found += _receivers(report)
        if liveness.unready_s(report) >= UNREADY_S and not _are_known(report.failing):
            found.append(_not_ready(report))
    return found


def _lag(report: HealthReported) -> Iterator[Alarm]:
    if PROGRESS not in report.failing or any(what.startswith(TRANSACTION) for what in report.failing):
        return
    behind = sum(report.lag.values())
    summary = f"{report.service} handles nothing while {behind:,} records wait: {report.reason}"
    yield Alarm("ConsumerLag", {"service": report.service}, "critical", summary, "headrace status")


def _receivers(report: HealthReported) -> Iterator[Alarm]:
    for what in report.failing:
        if what.startswith(RECEIVER):
            name = what.removeprefix(RECEIVER)
            summary = f"alerts do not reach {name}, and are kept until they do: {report.reason}"
            yield Alarm("ReceiverAway", {"receiver": name}, "critical", summary, "headrace alert list")


def _not_ready(report: HealthReported) -> Alarm:
    summary = f"{report.instance} has not been ready for {UNREADY_S / 60:.0f} minutes: {report.reason or 'it gives no reason'}"
    about = {"service": report.service, "instance": report.instance}
    return Alarm("InstanceNotReady", about, "critical", summary, "headrace status")


def _are_known(failing: tuple[str, ...]) -> bool:
    return bool(failing) and all(what.startswith(_KNOWN) for what in failing)
