"""Cohorts of request time: labels are read only when a cohort has closed.

Early labels are biased (on-time flights report first), so a cohort [from, to) closes when the deployment's clock has
passed its end and either `coverage` of its requests have a label known by then, or the label horizon has passed too.
"""

import math
from dataclasses import dataclass, field

from headrace.events.inference import DecisionMade
from headrace.project.definition import DeploymentDefinition


@dataclass(slots=True)
class Label:
    """A unit's ground truth, and since when it is known."""

    value: float
    known_s: float


@dataclass
class Cohorts:
    """Open cohorts of one deployment."""

    deployment: DeploymentDefinition
    closed_to_s: float = -math.inf
    decisions: dict[float, list[DecisionMade]] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    highest_at_s: dict[int, float] = field(default_factory=dict)
    late: int = 0

    def decide(self, decision: DecisionMade, partition: int) -> None:
        """Take a decision; one of a closed cohort is counted as late."""
        start_s = self.start_of(decision.at_s)
        if start_s < self.closed_to_s:
            self.late += 1
            return
        self.decisions.setdefault(start_s, []).append(decision)
        self.highest_at_s[partition] = max(self.highest_at_s.get(partition, -math.inf), decision.at_s)

    def observe(self, unit: str, value: float, known_s: float) -> None:
        """Take an outcome; a later one corrects an earlier one."""
        known = self.labels.get(unit)
        if known is None or known_s >= known.known_s:
            self.labels[unit] = Label(value, known_s)

    def clock_s(self, is_idle: bool) -> float:
        """The deployment's clock: the slowest partition's highest instant; the fastest one's when all is read to its end."""
        reached = self.highest_at_s.values()
        return (max if is_idle else min)(reached, default=-math.inf)

    def closable(self, clock_s: float) -> list[float]:
        """Starts of the cohorts that may close now, in order; one that may not holds back those after it."""
        found = []
        for start_s in sorted(self.decisions):
            if not self._may_close(start_s, clock_s):
                break
            found.append(start_s)
        return found

    def _may_close(self, start_s: float, clock_s: float) -> bool:
        end_s = start_s + self.deployment.cohort_s
        if clock_s < end_s:
            return False
        label = self.deployment.label
        if label is None or clock_s >= end_s + label.horizon_s:
            return True
        rows = self.decisions[start_s]
        known = sum(1 for row in rows if self.label_of(row, clock_s) is not None)
        return known >= self.deployment.coverage * len(rows)

    def label_of(self, decision: DecisionMade, clock_s: float) -> float | None:
        """The label as known at `clock_s`; after the horizon an absent one may mean negative."""
        found = self.labels.get(decision.unit)
        label = self.deployment.label
        if label is None:
            return None
        if found is not None and found.known_s <= min(clock_s, decision.at_s + label.horizon_s):
            return found.value
        is_over = label.absent == "negative" and clock_s >= decision.at_s + label.horizon_s
        return 0.0 if is_over else None

    def close(self, start_s: float) -> list[DecisionMade]:
        """Take a cohort out; its labels go with it."""
        rows = self.decisions.pop(start_s)
        self.closed_to_s = start_s + self.deployment.cohort_s
        return rows

    def forget(self, rows: list[DecisionMade]) -> None:
        """Drop what only a closed cohort needed."""
        for row in rows:
            self.labels.pop(row.unit, None)
        stale = [
            unit for unit, label in self.labels.items() if label.known_s < self.closed_to_s - self.deployment.cohort_s
        ]
        for unit in stale:
            del self.labels[unit]

    def start_of(self, at_s: float) -> float:
        """Start of the cohort that an instant falls into."""
        return math.floor(at_s / self.deployment.cohort_s) * self.deployment.cohort_s
