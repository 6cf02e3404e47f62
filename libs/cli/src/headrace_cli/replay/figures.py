"""The figures of a replay: the loss of the answers before and after each switch, of the prior, and of the version before on the
same rows.

Losses are those of `headrace.stats.losses`. An interval runs from one switch to the next, in the order in which decisions were
written. A difference of two versions is over the rows that both scored (the old one as a shadow). Its 95 % interval uses days
as blocks: the mean of daily sums, by the normal approximation.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.stats import losses as loss_of
from headrace_cli.replay.gathering import Gathered, Switch
from headrace_cli.terminal.render import instant

Floats = NDArray[np.float64]

DAY_S = 86_400.0
POINTS = 60


def counts(gathered: Gathered) -> dict[str, Any]:
    """Counts that show whether anything was lost or duplicated, and how requests were answered."""
    return {
        "requests": gathered.requests.count,
        "decisions": gathered.decided.count,
        "lost": gathered.requests.count - gathered.decided.count,
        "duplicated": gathered.repeats,
        "outcomes": gathered.outcomes.count,
        "answers": dict(gathered.answers),
    }


class Figures:
    """The figures of one replay; `labels` are NaN if there is none."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered, deployment = gathered, gathered.deployment
        self.kind = deployment.label.kind if deployment.label else ""
        self.labels = gathered.labels()
        self.at_s = np.array(gathered.at_s, dtype=np.float64)
        self._appended_ms = np.array(gathered.appended_ms, dtype=np.int64)
        self._answered_by = np.array(gathered.answered_by, dtype=np.int64)
        known = self.labels[~np.isnan(self.labels)]
        self._scale = loss_of.scale_of(self.kind, known)
        self.prior, self.prior_from = _prior(deployment, known)
        self.loss = {version: self._losses_of(version) for version in sorted(gathered.scores)}
        self.prior_loss = np.full(len(self.labels), np.nan)
        if len(known):
            self.prior_loss[~np.isnan(self.labels)] = loss_of.prior_losses(self.kind, self.prior, known, self._scale)
        first_ms = int(self._appended_ms.min()) if len(self._appended_ms) else 0
        self.switches = [self._effective(found) for found in gathered.switches if found.appended_ms > first_ms]

    @property
    def answered_loss(self) -> Floats:
        """The loss of the answer per decision, whichever version gave it; NaN without label or score."""
        found = np.full(len(self.labels), np.nan)
        for version, loss in self.loss.items():
            is_its = self._answered_by == version
            found[is_its] = loss[is_its]
        return found

    def report(self) -> dict[str, Any]:
        """All figures, as plain values."""
        prior = None if self.prior is None else np.asarray(self.prior).tolist()
        return {
            "labelled": int((~np.isnan(self.labels)).sum()),
            "loss": loss_of.LOSSES.get(self.kind),
            "prior": {"value": prior, "from": self.prior_from},
            "intervals": self.intervals(),
            "switches": [self._switch(found) for found in self.switches],
            "versions": [self._version(version) for version in self.loss],
        }

    def intervals(self) -> list[dict[str, Any]]:
        """The figures before the first switch, and after each switch; an interval without a decision is left out."""
        edges = [0, *(found.appended_ms for found in self.switches), np.iinfo(np.int64).max]
        found = []
        for low, high in itertools.pairwise(edges):
            is_in = (self._appended_ms >= low) & (self._appended_ms < high)
            if is_in.any():
                champions, rows = np.unique(self._answered_by[is_in], return_counts=True)
                mostly = int(champions[rows.argmax()])
                found.append({"answered_mostly_by": _named(mostly), **self._span(is_in), **self._quality(is_in)})
        return found

    def places(self, points: int = POINTS) -> tuple[Floats, NDArray[np.int64]]:
        """The edges of `points` equal intervals of event time, and the interval of each decision."""
        low, high = (float(self.at_s.min()), float(self.at_s.max())) if len(self.at_s) else (0.0, 1.0)
        edges = np.linspace(low, max(high, low + 1.0), points + 1)
        return edges, np.clip(np.searchsorted(edges, self.at_s, side="right") - 1, 0, points - 1)

    def switched_at_s(self, switch: Switch) -> float:
        """The first instant that was decided after a switch; its end when none was."""
        after = self.at_s[self._appended_ms >= switch.appended_ms]
        return float(after.min()) if len(after) else float(self.at_s.max())

    def _effective(self, switch: Switch) -> Switch:
        """A switch at the moment of the version's first answer as champion, because inference follows the route with a delay."""
        answers = self._appended_ms[(self._appended_ms >= switch.appended_ms) & (self._answered_by == switch.version)]
        return replace(switch, appended_ms=int(answers.min())) if len(answers) else switch

    def _losses_of(self, version: int) -> Floats:
        found = np.full(len(self.labels), np.nan)
        rows, scores = self._gathered.scores[version].table()
        is_known = ~np.isnan(self.labels[rows])
        rows, scores = rows[is_known], scores[is_known]
        if len(rows):
            found[rows] = loss_of.losses(self.kind, scores, self.labels[rows], self._scale)
        return found

    def _span(self, is_in: NDArray[np.bool_]) -> dict[str, Any]:
        at_s = self.at_s[is_in]
        return {"from": instant(float(at_s.min())), "to": instant(float(at_s.max())), "requests": int(is_in.sum())}

    def _quality(self, is_in: NDArray[np.bool_]) -> dict[str, Any]:
        """The quality of the answers."""
        loss = self.answered_loss
        is_measured = is_in & ~np.isnan(loss)
        return {
            "rows": int(is_measured.sum()),
            "loss": _mean(loss[is_measured]),
            "prior_loss": _mean(self.prior_loss[is_measured]),
            "auc": self._auc(is_measured, self._answered_scores()),
        }

    def _version(self, version: int) -> dict[str, Any]:
        is_measured = ~np.isnan(self.loss[version])
        return {
            "version": version,
            "answered": int((self._answered_by == version).sum()),
            "rows": int(is_measured.sum()),
            "loss": _mean(self.loss[version][is_measured]),
            "prior_loss": _mean(self.prior_loss[is_measured]),
            "auc": self._auc(is_measured, self._scores_of(version)),
        }

    def _switch(self, switch: Switch) -> dict[str, Any]:
        return {
            "version": switch.version,
            "was": switch.was,
            "at": instant(self.switched_at_s(switch)),
            "reason": switch.reason,
            "same_rows": self._paired(switch),
        }

    def _paired(self, switch: Switch) -> dict[str, Any] | None:
        """Both versions on the rows after the switch that both scored; None if there are none."""
        new, old = self.loss.get(switch.version), self.loss.get(switch.was or 0)
        if new is None or old is None or not switch.was:
            return None
        both = (self._appended_ms >= switch.appended_ms) & ~np.isnan(new) & ~np.isnan(old)
        if not both.any():
            return None
        return {
            "rows": int(both.sum()),
            "loss": _mean(new[both]),
            "loss_of_previous": _mean(old[both]),
            "auc": self._auc(both, self._scores_of(switch.version)),
            "auc_of_previous": self._auc(both, self._scores_of(switch.was)),
            "difference_95": interval(new[both] - old[both], self.at_s[both]),
        }

    def _answered_scores(self) -> Floats | None:
        found = np.full(len(self.labels), np.nan)
        for version in self.loss:
            scores = self._scores_of(version)
            is_its = self._answered_by == version
            if scores is None:
                return None
            found[is_its] = scores[is_its]
        return found

    def _scores_of(self, version: int) -> Floats | None:
        """Per decision a version's probability; None for other kinds than binary."""
        if self.kind != loss_of.BINARY:
            return None
        found = np.full(len(self.labels), np.nan)
        rows, scores = self._gathered.scores[version].table()
        found[rows] = scores
        return found

    def _auc(self, is_in: NDArray[np.bool_], scores: Floats | None) -> float | None:
        return None if scores is None else auc(scores[is_in], self.labels[is_in])


def auc(scores: Floats, labels: Floats) -> float | None:
    """The probability that a positive row scores above a negative one, ties count half; None if there is only one class.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def interval(differences: Floats, at_s: Floats) -> tuple[float, float] | None:
    """95 % interval of the mean difference, with days as blocks; None for a single day."""
    _, day = np.unique(np.floor(at_s / DAY_S), return_inverse=True)
    sums = np.bincount(day, weights=differences)
    if len(sums) < 2:
        return None
    mean = float(differences.mean())
    error = 1.96 * float(sums.std(ddof=1)) * math.sqrt(len(sums)) / len(differences)
    return mean - error, mean + error


def binned(values: Floats, places: NDArray[np.int64], points: int) -> Sequence[float | None]:
    """The mean of each interval, None if it has no values; NaN is left out."""
    is_there = ~np.isnan(values)
    sums = np.bincount(places[is_there], weights=values[is_there], minlength=points)
    counted = np.bincount(places[is_there], minlength=points)
    return [float(total / count) if count else None for total, count in zip(sums, counted, strict=True)]


def _prior(deployment: DeploymentDefinition, known: Floats) -> tuple[Any, str]:
    """The answer that ignores the row, and where it comes from."""
    steps = [step for step in deployment.fallback if step.kind == "prior"]
    label = deployment.label
    if label is None:
        return None, "no label is declared"
    declared = [step.probabilities if label.kind == loss_of.CLASSES else step.value for step in steps]
    if declared and declared[0] not in (None, ()):
        return np.asarray(declared[0]), "the deployment's fallback chain"
    if not len(known):
        return None, "no label is known"
    return loss_of.prior_of(label.kind, known, len(label.classes) or 2), "the labels of this replay"


def _named(version: int) -> str | int:
    """A version in a table: 0 is the prior, -1 none."""
    names: Mapping[int, str] = {0: "prior", -1: "nobody"}
    return names.get(version, version)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
