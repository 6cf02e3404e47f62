"""What a version must pass before it may ask for traffic, and what follows from what the gates say.

Losses are those of the label's kind (`headrace.stats.losses`); their differences are paired, row by row. A gate passes by the
bound of its mean, not by the mean (`intervals`, one-sided, 95 %):

| gate                      | PASS                          | FAIL                           | between them |
|---------------------------|-------------------------------|--------------------------------|--------------|
| `beats_prior`             | gain's lower bound > margin   | gain's upper bound <= margin   | INCONCLUSIVE |
| `not_worse_than_champion` | loss' upper bound <= margin   | loss' lower bound > margin     | INCONCLUSIVE |

A gate that has nothing to compare with is not asked: there is no champion. One that should compare and cannot is UNMEASURED,
and blocks, unless the project says otherwise (`unmeasured="passes"`) or a named person waives it. What is not shown to be worse than
the champion goes on to a rollout that compares (canary, A/B test, shadow); where the deployment has none, the version is registered and
not switched: a week of rows cannot see less than about .02 (day-block error .008), and must not lock training up for ever.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import GateDefinition
from headrace.events.registry import GateResult, Waiver
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.registry.waivers import CHAMPION_GATE, PRIOR_GATE
from headrace.stats.losses import Yardstick
from headrace_trainer.core.intervals import LEAST_ROWS, Estimate, estimate
from headrace_trainer.core.target import Target

# Rollouts that compare a version with the champion while it takes traffic.
COMPARING = ("canary", "ab_test", "shadow")

ONNX_GATE = "onnx_parity"
PARITY_WITHIN = 1e-4
PARITY_SHARE = 0.999
PARITY_ROWS = 1000

Floats = NDArray[np.float64]


def judge(
    gate: GateDefinition,
    artifact: str,
    labels: Floats,
    at_s: Floats,
    scores: Floats,
    champion: Floats | None,
    measured: Yardstick,
) -> GateResult | None:
    """One gate's result on the holdout; None where it has nothing to compare with. `scores`, `labels`: see `losses`. `champion`: its
    scores on the same rows, NaN where it was trained on them itself, or they are not known; None when there is no champion.
    `measured`: fitted on the rows before the holdout.
    """
    if gate.kind == PRIOR_GATE:
        losses, against = measured.losses(scores, labels), measured.prior_losses(labels)
        told = f"{measured.name} {losses.mean():.4f}, the prior's {against.mean():.4f}"
        return _judged(gate, artifact, estimate(against - losses, at_s), told, is_gain=True)
    if gate.kind == CHAMPION_GATE:
        if champion is None:
            return None
        fair = fair_rows(champion)
        if fair.sum() < LEAST_ROWS:
            told = (
                f"{fair.sum()} labelled rows are newer than what the champion was trained on, {LEAST_ROWS} are wanted"
            )
            return GateResult(gate.kind, UNMEASURED, None, gate.margin, artifact, told)
        worse = measured.losses(scores[fair], labels[fair]) - measured.losses(champion[fair], labels[fair])
        found = estimate(worse, at_s[fair])
        told = f"{measured.name} minus the champion's: {found.mean:+.4f}"
        return _judged(gate, artifact, found, told, is_gain=False)
    return GateResult(gate.kind, FAIL, None, None, artifact, f"no gate is called {gate.kind!r}")


def gates_of(
    gates: Sequence[GateDefinition],
    changed_at_s: float | None,
    labels: Floats,
    champion: Floats | None,
    measured: Yardstick,
) -> list[GateDefinition]:
    """The gates that are asked: the project's. After a change that has left the champion worse than the prior (on the rows of the holdout), the
    prior is what a candidate must beat, whether the project asks for it or not: being better than that champion says nothing.
    """
    found = list(gates)
    if changed_at_s is None or champion is None or any(gate.kind == PRIOR_GATE for gate in gates):
        return found
    fair = fair_rows(champion)
    if not fair.any():
        return found
    losses, prior = measured.losses(champion[fair], labels[fair]), measured.prior_losses(labels[fair])
    return [*found, GateDefinition(PRIOR_GATE)] if losses.mean() > prior.mean() else found


def fair_rows(champion: Floats) -> NDArray[np.bool_]:
    """Where a champion's scores can be compared with: shape (n,)."""
    return np.asarray(~np.isnan(champion.reshape(len(champion), -1)).any(axis=1))


def _judged(gate: GateDefinition, artifact: str, found: Estimate, told: str, *, is_gain: bool) -> GateResult:
    if not found.is_measured:
        told = f"{told} on {found.rows} rows: too few to say how sure that is, {LEAST_ROWS} are wanted"
        return GateResult(gate.kind, UNMEASURED, found.mean, gate.margin, artifact, told)
    is_above, is_below = found.low > gate.margin, found.high <= gate.margin
    good, bad = (is_above, is_below) if is_gain else (is_below, is_above)
    verdict = PASS if good else FAIL if bad else INCONCLUSIVE
    detail = f"{told} ({found.told}; between {found.low:+.4f} and {found.high:+.4f})"
    if verdict == INCONCLUSIVE:
        wanted = found.rows_to_decide(gate.margin)
        detail += f"; {'no number of rows at hand' if wanted is None else f'about {wanted:,} rows'} would decide"
    return GateResult(gate.kind, verdict, found.mean, gate.margin, artifact, detail)


def judge_onnx(artifact: str, target: Target, scores: Floats, onnx: Floats, otherwise: str | None = None) -> GateResult:
    """Whether a converted model says the same as the fitted one on replayed rows: within 1e-4 (of the spread of numbers) on
    99.9 % of at least 1000 rows, and no label flipped. `otherwise`: where it differs on a golden row, by which an instance would
    refuse it. Where it does not say the same, the fitted one serves, so this never keeps a version from registering.
    """
    rows = len(scores)
    apart = target.apart(scores, onnx)
    close = float((apart <= PARITY_WITHIN).mean()) if rows else 0.0
    flipped = target.flipped(scores, onnx)
    detail = f"{close:.4%} of {rows} rows within {PARITY_WITHIN:g} (largest {apart.max(initial=0.0):.2g}), {flipped} labels flipped"
    if rows < PARITY_ROWS:
        return GateResult(
            ONNX_GATE, UNMEASURED, None, PARITY_SHARE, artifact, f"only {rows} rows to replay; skops serves"
        )
    if otherwise is not None:
        detail = f"{detail}; {otherwise}"
    is_same = close >= PARITY_SHARE and flipped == 0 and otherwise is None
    verdict, served = (PASS, "ONNX serves") if is_same else (INCONCLUSIVE, "skops serves")
    return GateResult(ONNX_GATE, verdict, close, PARITY_SHARE, artifact, f"{detail}; {served}")


def standing(
    results: Sequence[GateResult], waivers: Sequence[Waiver] = (), gates: Sequence[GateDefinition] = ()
) -> list[GateResult]:
    """The gates that keep the version from being registered. `gates`: as the project declares them."""
    waived = {waiver.gate for waiver in waivers if waiver.by.strip() and waiver.reason.strip()}
    let_pass = {gate.kind for gate in gates if gate.unmeasured == "passes"}
    return [
        result
        for result in results
        if result.verdict != PASS
        and result.gate not in waived
        and not (result.verdict == UNMEASURED and result.gate in let_pass)
        and not _is_open(result)
    ]


def may_register(results: Sequence[GateResult], waivers: Sequence[Waiver] = ()) -> bool:
    """Whether no gate keeps the version away."""
    return not standing(results, waivers)


def undecided(results: Sequence[GateResult], waivers: Sequence[Waiver], policy: str) -> GateResult | None:
    """The gate that keeps a registered version from being released by a rollout of this policy; None when it may be."""
    waived = {waiver.gate for waiver in waivers if waiver.by.strip() and waiver.reason.strip()}
    if policy in COMPARING:
        return None
    return next((result for result in results if _is_open(result) and result.gate not in waived), None)


def _is_open(result: GateResult) -> bool:
    """Not shown to be worse than the champion, and not shown not to be: traffic can tell."""
    return result.gate == CHAMPION_GATE and result.verdict == INCONCLUSIVE


def used(results: Sequence[GateResult], waivers: Sequence[Waiver]) -> tuple[Waiver, ...]:
    """The waivers that made a difference."""
    stood = {result.gate for result in results if result.verdict != PASS and result.gate != ONNX_GATE}
    return tuple(waiver for waiver in waivers if waiver.gate in stood)
