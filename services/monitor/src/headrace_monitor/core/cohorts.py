"""Cohorts of request time: labels are read only when a cohort has closed.

Early labels are biased (on-time flights report first), so a cohort [from, to) closes when the deployment's clock has
passed its end and either `coverage` of its requests have a label known by then, or the label horizon has passed too.
"""

import math
from dataclasses import dataclass, field

from headrace.events.inference import DecisionMade
from headrace.project.definition import DeploymentDefinition

HOUR_S = 3600.0


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
    _looked_to_s: dict[float, float] = field(default_factory=dict)

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

    @property
    def highest_s(self) -> float:
        """The highest instant of a decision so far."""
        return max(self.highest_at_s.values(), default=-math.inf)

    @property
    def open_from_s(self) -> float:
        """Start of the oldest open cohort; where the next one would start when none is open; -inf before the first."""
        return min(self.decisions, default=self.closed_to_s)

    def may_close_by(self, clock_s: float) -> bool:
        """Whether the oldest open cohort has ended by then: a cheap look before a thorough one."""
        return bool(self.decisions) and clock_s >= min(self.decisions) + self.deployment.cohort_s

    def closable(self, clock_s: float) -> list[tuple[float, float]]:
        """Cohorts that may close, in order, each as (start, the hour at which it closed); one that may not holds back those after it."""
        found = []
        for start_s in sorted(self.decisions):
            closes_s = self._closes_s(start_s, clock_s)
            if closes_s is None:
                break
            found.append((start_s, closes_s))
        return found

    def _closes_s(self, start_s: float, clock_s: float) -> float | None:
        """The first full hour at which the cohort's condition holds, so that it does not depend on how records were batched."""
        end_s = start_s + self.deployment.cohort_s
        label = self.deployment.label
        last_s = math.inf if label is None else end_s + label.horizon_s
        hour_s = max(math.ceil(end_s / HOUR_S) * HOUR_S, self._looked_to_s.get(start_s, -math.inf))
        while hour_s <= clock_s:
            if label is None or hour_s >= last_s or self._is_covered(start_s, hour_s):
                return hour_s
            hour_s += HOUR_S
            self._looked_to_s[start_s] = hour_s
        return None

    def _is_covered(self, start_s: float, clock_s: float) -> bool:
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
        self._looked_to_s.pop(start_s, None)
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
