"""The permanent A/A arm: how often the tests that judge rollouts see a difference between the champion and itself.

A share of the units is the arm, chosen by the hash that routes traffic, with a salt for each trial; no model is called for it.
The champion's labelled rows in closed windows are split by it. The tests of a rollout compare two scores of one request, which
would be the same here. So each row of the arm is paired with a row of the rest that has the same label (of numbers: the nearest
one, whose residual is moved to the arm's label). As the hash alone decides who is in the arm, both have the same distribution.

A trial lasts `min_cycles` cycles of the rollout policy that have pairs. The level test then looks at its differences, as a rollout
does: a difference in either direction is a false alarm at the level at which differences count as shown, and an arm that is worse
by more than the margin is rolled back at the rollout's own error rate. The gross test looks after each window, whose pairs count as
one block. The ranking test is not audited: what it compares requests with is too much to remember. A unit stays in its arm for a
whole trial, as in a rollout; so a rate above what is stated also tells that few units make up the figure.
"""

import math

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.asking.routing import choose_version
from headrace.events.audit import AuditKept, AuditReported
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.verdicts import PASS
from headrace.project.labels import NUMBER
from headrace.stats.alphas import SHOWN_LEVEL, LabelAlphas, labels_alpha
from headrace.stats.gross import GrossTest
from headrace.stats.level import Level, level
from headrace.stats.ranking import LEAST_LABELS
from headrace.stats.scores import constant_score, default_margin, differences, label_counts
from headrace.stats.shares import bounds
from headrace.step import Step
from headrace_monitor.core.evaluation import WindowInputs
from headrace_monitor.core.scored import Floats, Ints, Scored, places_of

_REST, _ARM = 1, 2

AuditStep = Step[AuditKept | None, AuditReported]
# Scores of the arm and of the rest, and the labels of the pairs, shape (n,) or (n, classes).
Pairs = tuple[Floats, Floats, Floats]


def is_in_arm(deployment: str, trial: int, unit: str, share: float) -> bool:
    """Whether a unit is in the arm of a trial.

    >>> [is_in_arm("d", trial, "AA-1", 0.3) for trial in range(1, 6)]
    [True, False, False, True, True]
    """
    return choose_version(deployment, f"audit/{trial}", unit, {_REST: 1 - share, _ARM: share}) == _ARM


def on_window(kept: AuditKept | None, inputs: WindowInputs, verdict: str, from_s: float, to_s: float) -> AuditStep:
    """A window from `from_s` to `to_s` has closed. Of one that is not judged (`verdict`) no labels are used.

    None where the deployment has no arm. Trials of another share are forgotten. The first trial begins with the first window
    that has pairs.
    """
    share = inputs.deployment.audit_share
    if not share:
        return Step(None)
    if kept is None or kept.share != share or not (kept.trials or kept.cycles):
        kept = AuditKept(share, from_s)
    if verdict == PASS:
        kept = _with_pairs(kept, inputs, from_s)
    return _ended(kept, inputs.deployment, to_s) if _is_over(kept, inputs.deployment, to_s) else Step(kept)


def rates_of(deployment: str, kept: AuditKept, alphas: LabelAlphas, at_s: float) -> AuditReported:
    """The report of at least one trial. `alphas`: of the rollouts' tests."""
    low, high = bounds(kept.failed, kept.trials)
    rollback_low, rollback_high = bounds(kept.rolled_back, kept.trials)
    return AuditReported(
        deployment=deployment,
        share=kept.share,
        since_s=kept.since_s,
        at_s=at_s,
        trials=kept.trials,
        failed=kept.failed,
        rate=kept.failed / kept.trials,
        low=low,
        high=high,
        alpha=SHOWN_LEVEL,
        rolled_back=kept.rolled_back,
        rollback_rate=kept.rolled_back / kept.trials,
        rollback_low=rollback_low,
        rollback_high=rollback_high,
        rollback_alpha=alphas.level + alphas.gross,
    )


def pairs_of(label: LabelDefinition, scored: Scored, in_arm: NDArray[np.bool_]) -> Pairs:
    """Rows of the arm beside rows of the rest with the same label. `in_arm`: shape (n,), of the labelled rows of `scored`."""
    scores, labels = scored.scores, scored.labels
    if label.kind == NUMBER:
        low, high = label.low or 0.0, label.high or 0.0
        scores, labels = (scores - low) / (high - low), (labels - low) / (high - low)
        order = np.argsort(labels, kind="stable")
        ours, theirs = _alike(order[in_arm[order]], order[~in_arm[order]])
        return scores[ours], scores[theirs] + labels[ours] - labels[theirs], labels[ours]
    pairs = [
        _alike(np.flatnonzero(in_arm & (labels == value)), np.flatnonzero(~in_arm & (labels == value)))
        for value in np.unique(labels)
    ]
    ours, theirs = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    return scores[ours], scores[theirs], labels[ours]


def _alike(ours: Ints, theirs: Ints) -> tuple[Ints, Ints]:
    """As many of both, those of the longer one evenly spread over it."""
    least = min(len(ours), len(theirs))
    spread = (np.arange(least) + 0.5) / max(least, 1)
    return ours[(spread * len(ours)).astype(np.int64)], theirs[(spread * len(theirs)).astype(np.int64)]


# A window


def _with_pairs(kept: AuditKept, inputs: WindowInputs, from_s: float) -> AuditKept:
    label, name = inputs.deployment.label, inputs.deployment.name
    if label is None or (label.kind == NUMBER and (label.low is None or label.high is None)):
        return kept
    places = places_of(inputs.rows, inputs.sample)
    units = {row: made.unit for row, made in zip(places, inputs.sample, strict=True) if row is not None}
    arm = {unit: is_in_arm(name, kept.number, unit, kept.share) for unit in set(units.values())}
    for scored in inputs.scored:
        if scored.role != "champion":
            continue
        known = np.array([int(row) in units for row in scored.rows])
        rows = Scored(scored.version, scored.role, scored.scores[known], scored.labels[known], scored.rows[known])
        if known.any():
            found = pairs_of(label, rows, np.array([arm[units[int(row)]] for row in rows.rows]))
            kept = _folded(kept, inputs.deployment, label, found, from_s)
    return kept


def _folded(
    kept: AuditKept, deployment: DeploymentDefinition, label: LabelDefinition, pairs: Pairs, from_s: float
) -> AuditKept:
    """The trial with the pairs of one window."""
    new, control, labels = pairs
    if not len(labels):
        return kept
    found = differences(label.kind, new, control, labels)
    gross = _gross(kept)
    gross.take(found.seen)
    counts = label_counts(label.kind, np.clip(labels, 0, 1) if label.kind == NUMBER else labels, len(label.classes))
    return replace(
        kept,
        cycles=_with_cycle(kept.cycles, _cycle_of(deployment, from_s), len(labels), float(found.seen.sum())),
        wealth=tuple(gross.wealth.tolist()),
        total=gross.total,
        control=kept.control + float(found.control.sum()),
        constant=kept.constant + len(labels) * constant_score(label.kind, counts),
        is_gross=kept.is_gross or gross.has_failed(_alphas(deployment).gross),
    )


def _gross(kept: AuditKept) -> GrossTest:
    test = GrossTest()
    if kept.wealth:
        pairs = float(sum(rows for _, rows, _ in kept.cycles))
        test.restore({"wealth": kept.wealth, "sums": [pairs, kept.total]})
    return test


def _with_cycle(
    cycles: tuple[tuple[float, int, float], ...], start_s: float, pairs: int, apart: float
) -> tuple[tuple[float, int, float], ...]:
    if cycles and cycles[-1][0] == start_s:
        *before, (_, rows, total) = cycles
        return (*before, (start_s, rows + pairs, total + apart))
    return (*cycles, (start_s, pairs, apart))


# A trial


def _width_s(deployment: DeploymentDefinition) -> float:
    """How long a cycle of a trial is: of the rollouts, and no shorter than a window."""
    return max(deployment.rollout.cycle_s, deployment.evaluation_window_s)


def _cycle_of(deployment: DeploymentDefinition, at_s: float) -> float:
    return math.floor(at_s / _width_s(deployment)) * _width_s(deployment)


def _alphas(deployment: DeploymentDefinition) -> LabelAlphas:
    plan = deployment.rollout
    return LabelAlphas.of(labels_alpha(plan.alpha, has_guardrails=any(not one.dry_run for one in plan.guardrails)))


def _is_over(kept: AuditKept, deployment: DeploymentDefinition, to_s: float) -> bool:
    """Whether the last cycle of the trial is over, and there are labels enough for a verdict."""
    cycles, least = kept.cycles, max(deployment.rollout.min_cycles, 2)
    has_enough = len(cycles) >= least and sum(rows for _, rows, _ in cycles) >= LEAST_LABELS
    return has_enough and to_s >= cycles[-1][0] + _width_s(deployment)


def _ended(kept: AuditKept, deployment: DeploymentDefinition, to_s: float) -> AuditStep:
    alphas = _alphas(deployment)
    found = level([rows for _, rows, _ in kept.cycles], [apart for *_, apart in kept.cycles])
    is_apart = max(found.low(SHOWN_LEVEL / 2), -found.high(SHOWN_LEVEL / 2)) > 0
    is_harm = kept.is_gross or _is_over_margin(kept, deployment, found, alphas)
    after = AuditKept(
        kept.share,
        kept.since_s,
        kept.trials + 1,
        kept.failed + bool(is_apart or is_harm),
        kept.rolled_back + is_harm,
        kept.number + 1,
    )
    return Step(after, (rates_of(deployment.name, after, alphas, to_s),))


def _is_over_margin(kept: AuditKept, deployment: DeploymentDefinition, found: Level, alphas: LabelAlphas) -> bool:
    margin = deployment.rollout.margin
    if margin is None:
        margin = float(default_margin((kept.constant - kept.control) / sum(rows for _, rows, _ in kept.cycles)))
    return bool(found.low(alphas.level) > margin)
