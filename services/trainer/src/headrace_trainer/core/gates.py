"""What a version must pass before it may ask for traffic, and what follows from the results of the gates.

Losses are those of the label's kind (`headrace.stats.losses`); their differences are paired, row by row. A gate passes by the
bound of its mean, not by the mean (`intervals`, one-sided, 95 %):

| gate                      | PASS                          | FAIL                           | between them |
|---------------------------|-------------------------------|--------------------------------|--------------|
| `beats_prior`             | gain's lower bound > margin   | gain's upper bound <= margin   | INCONCLUSIVE |
| `not_worse_than_champion` | loss' upper bound <= margin   | loss' lower bound > margin     | INCONCLUSIVE |

A gate is not asked where there is nothing to compare with: there is no champion. One that should compare and cannot is UNMEASURED,
and blocks, unless the project declares `unmeasured="passes"` or a named person waives it. A version that is not shown to be worse than
the champion goes on to a rollout that compares (canary, A/B test, shadow). Where the deployment has none, the version is registered and
not released: a week of rows cannot show less than about .02 (day-block error .008), and must not block training for ever.

`parity_with_serving` asks whether the rows to be trained on are the rows that were served: the newest logged ones, recomputed as
training does it. A view with a wrong time, a look into the future, or another unit in training may leave every metric of the
holdout as it is; this gate shows them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import GateDefinition
from headrace.events.monitor import SkewSeen
from headrace.events.registry import GateResult, Waiver
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.registry.waivers import CHAMPION_GATE, PARITY_GATE, PRIOR_GATE, waived
from headrace.stats.losses import Yardstick
from headrace_trainer.core.intervals import LEAST_ROWS, Estimate, estimate
from headrace_trainer.core.target import Target

# Policies of rollouts that compare a version with the champion while it takes traffic.
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
    """One gate's result on the holdout; None where it has nothing to compare with.

    `scores`, `labels`: see `headrace.stats.losses`. `champion`: its scores on the same rows, NaN where it was trained on them itself, or
    they are not known; None when there is no champion. `measured`: the losses, fitted on the rows before the holdout.
    """
    if gate.kind == PRIOR_GATE:
        losses, against = measured.losses(scores, labels), measured.prior_losses(labels)
        figures = f"{measured.name} {losses.mean():.4f}, the prior's {against.mean():.4f}"
        return _judged(gate, artifact, estimate(against - losses, at_s), figures, is_gain=True)
    if gate.kind == CHAMPION_GATE:
        if champion is None:
            return None
        fair = fair_rows(champion)
        if fair.sum() < LEAST_ROWS:
            reason = (
                f"{fair.sum()} labelled rows are newer than what the champion was trained on, {LEAST_ROWS} are wanted"
            )
            return GateResult(gate.kind, UNMEASURED, None, gate.margin, artifact, reason)
        worse = measured.losses(scores[fair], labels[fair]) - measured.losses(champion[fair], labels[fair])
        found = estimate(worse, at_s[fair])
        figures = f"{measured.name} minus the champion's: {found.mean:+.4f}"
        return _judged(gate, artifact, found, figures, is_gain=False)
    return GateResult(gate.kind, FAIL, None, None, artifact, f"no gate is called {gate.kind!r}")


def gates_of(
    gates: Sequence[GateDefinition],
    changed_at_s: float | None,
    labels: Floats,
    champion: Floats | None,
    measured: Yardstick,
) -> list[GateDefinition]:
    """The gates that are asked: those of the project, and `beats_prior` after a change that has left the champion worse than the prior.

    To be better than such a champion is no evidence. Its losses and the prior's are compared on the rows of the holdout.
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
    """The rows on which a champion may be compared with: where all its scores are known. Shape (n,)."""
    return np.asarray(~np.isnan(champion.reshape(len(champion), -1)).any(axis=1))


def _judged(gate: GateDefinition, artifact: str, found: Estimate, figures: str, *, is_gain: bool) -> GateResult:
    if not found.is_measured:
        reason = f"{figures} on {found.rows} rows: too few to say how sure that is, {LEAST_ROWS} are wanted"
        return GateResult(gate.kind, UNMEASURED, found.mean, gate.margin, artifact, reason)
    is_above, is_below = found.low > gate.margin, found.high <= gate.margin
    good, bad = (is_above, is_below) if is_gain else (is_below, is_above)
    verdict = PASS if good else FAIL if bad else INCONCLUSIVE
    detail = f"{figures} ({found.described}; between {found.low:+.4f} and {found.high:+.4f})"
    if verdict == INCONCLUSIVE:
        wanted = found.rows_to_decide(gate.margin)
        detail += f"; {'no number of rows at hand' if wanted is None else f'about {wanted:,} rows'} would decide"
    return GateResult(gate.kind, verdict, found.mean, gate.margin, artifact, detail)


def judge_parity(rows: int, tiles: float | None, as_of: float | None, skew: SkewSeen | None) -> GateResult | None:
    """Whether served rows equal the fold of the events up to the offsets that they were served from. The gate measures no artifact.

    `tiles`: the share of `rows` that do; `as_of`: the share that equals all that was available; both None where no row with features
    was served yet: then there is no result. `skew`: the feature that differs in most rows.
    """
    if tiles is None or as_of is None:
        return None
    detail = f"{rows:,} served rows, {as_of:.2%} equal to all that was available at their instants"
    if tiles < 1.0 and skew is not None:
        detail = f"{skew.feature} differs in {skew.share:.1%} of {rows:,} rows: {skew.cause}"
    return GateResult(PARITY_GATE, PASS if tiles >= 1.0 else FAIL, tiles, 1.0, "", detail)


def judge_onnx(artifact: str, target: Target, scores: Floats, onnx: Floats, different: str | None = None) -> GateResult:
    """Whether a converted model has the scores of the fitted one on replayed rows.

    They must lie within 1e-4 (of the spread of numbers) on 99.9 % of at least 1000 rows, and no label may flip. `different`: where the
    converted model differs on a golden row, by which an instance would refuse it. Where the scores are not the same, the fitted model
    serves, so this gate never keeps a version from registering.
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
    if different is not None:
        detail = f"{detail}; {different}"
    is_same = close >= PARITY_SHARE and flipped == 0 and different is None
    verdict, served = (PASS, "ONNX serves") if is_same else (INCONCLUSIVE, "skops serves")
    return GateResult(ONNX_GATE, verdict, close, PARITY_SHARE, artifact, f"{detail}; {served}")


def blocking(
    results: Sequence[GateResult], waivers: Sequence[Waiver] = (), gates: Sequence[GateDefinition] = ()
) -> list[GateResult]:
    """The results that keep the version from being registered. `gates`: as the project declares them."""
    passed_by = waived(waivers)
    let_pass = {gate.kind for gate in gates if gate.unmeasured == "passes"}
    return [
        result
        for result in results
        if result.verdict != PASS
        and result.gate not in passed_by
        and not (result.verdict == UNMEASURED and result.gate in let_pass)
        and not _is_open(result)
    ]


def may_register(results: Sequence[GateResult], waivers: Sequence[Waiver] = ()) -> bool:
    """Whether no gate keeps the version from being registered."""
    return not blocking(results, waivers)


def undecided(results: Sequence[GateResult], waivers: Sequence[Waiver], policy: str) -> GateResult | None:
    """The result that keeps a registered version from being released by a rollout of this policy; None when it may be released."""
    passed_by = waived(waivers)
    if policy in COMPARING:
        return None
    return next((result for result in results if _is_open(result) and result.gate not in passed_by), None)


def _is_open(result: GateResult) -> bool:
    """Whether rows can show neither that a version is worse than the champion nor that it is not: traffic can."""
    return result.gate == CHAMPION_GATE and result.verdict == INCONCLUSIVE


def used(results: Sequence[GateResult], waivers: Sequence[Waiver]) -> tuple[Waiver, ...]:
    """The waivers of gates that did not pass. `onnx_parity` blocks nothing, so that a waiver of it makes no difference."""
    stood = {result.gate for result in results if result.verdict != PASS and result.gate != ONNX_GATE}
    return tuple(waiver for waiver in waivers if waiver.gate in stood)
