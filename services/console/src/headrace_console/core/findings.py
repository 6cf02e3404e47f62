"""Findings of the monitor: opened and resolved, the newest `KEPT` of each deployment, open ones before all others."""

from dataclasses import dataclass, replace

import msgspec

from headrace.events.monitor import FindingEvidence, FindingOpened, FindingResolved
from headrace.evidence.findings import compared_by
from headrace.hosting.alerts import alarm_name, runbook_of
from headrace_console.core.documents import Finding, FindingRow
from headrace_console.core.links import finding_link
from headrace_console.core.places import base_place
from headrace_console.core.seen import Seen

KEPT = 200
DRIFT = "drift"


@dataclass(frozen=True)
class Found:
    """A finding as it was opened, where and when (wall clock), and how it ended."""

    opened: FindingOpened
    place: str
    id: str
    appended_s: float
    resolved: FindingResolved | None = None


class Findings:
    """The findings of all deployments, by id."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Found]] = {}

    def of(self, deployment: str) -> dict[str, Found]:
        """The findings of a deployment, oldest first."""
        return self._of.get(deployment, {})

    def open(self, deployment: str) -> list[Found]:
        """Those that are open."""
        return [found for found in self.of(deployment).values() if found.resolved is None]

    def take(self, seen: Seen) -> str:
        """Take a fact. Returns the deployment."""
        event = seen.event
        kept = self._of.setdefault(event.deployment, {})
        if isinstance(event, FindingOpened):
            kept[event.finding] = Found(event, seen.place, seen.id, seen.appended_s)
            while len(kept) > KEPT:
                over = next((name for name, found in kept.items() if found.resolved is not None), next(iter(kept)))
                del kept[over]
        elif event.finding in kept:
            kept[event.finding] = replace(kept[event.finding], resolved=event)
        return event.deployment


def row_of(found: Found) -> FindingRow:
    """A finding in a list. NB: of a drift the loss was measured, and the limit is one of the detector's statistic: the
    two must not stand side by side.
    """
    opened, resolved = found.opened, found.resolved
    return FindingRow(
        opened.finding,
        opened.kind,
        "attention" if resolved is None else "ok",
        opened.summary,
        opened.about,
        opened.detector,
        opened.measured,
        None if opened.kind == DRIFT else opened.limit,
        opened.at_s,
        None if resolved is None else resolved.at_s,
        opened.version,
        finding_link(opened.deployment, opened.finding),
    )


def finding_of(found: Found, statistic: float | None, episode: str = "", namespace: str = "") -> Finding:
    """A finding, whole. `statistic`: of its detector now; `episode`: of the timeline; `namespace`: of topics."""
    opened = found.opened
    alarm = alarm_name(opened.kind, opened.about)
    return Finding(
        row_of(found),
        opened.deployment,
        found.place,
        opened.changed_at_s,
        opened.window_from_s,
        opened.window_to_s,
        opened.back_at,
        "" if found.resolved is None else found.resolved.reason,
        (opened.about or "loss") if opened.kind == DRIFT else opened.detector,
        _values(found, statistic),
        episode,
        runbook_of(alarm) if alarm else "",
        opened.severity,
        _evidence(opened.evidence, namespace),
        compared_by(opened.kind),
    )


def _evidence(evidence: FindingEvidence | None, namespace: str) -> FindingEvidence | None:
    if evidence is None or not evidence.first_place:
        return evidence
    return msgspec.structs.replace(evidence, first_place=base_place(evidence.first_place, namespace))


def _values(found: Found, statistic: float | None) -> dict[str, float | None]:
    """What was measured, beside what holds now and what would resolve it."""
    opened = found.opened
    if opened.kind == DRIFT:
        values = {opened.about or "loss": opened.measured, "resolved at": opened.back_at}
        values |= {"statistic now": statistic, "limit of the statistic": opened.limit}
    else:
        values = {"measured": opened.measured, "limit": opened.limit, "back at": opened.back_at}
    return {name: value for name, value in values.items() if value is not None}
