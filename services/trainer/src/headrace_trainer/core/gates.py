"""What a version must pass before it may ask for traffic.

Losses are those of the label's kind (`headrace.policy.losses`). Their differences are paired, row by row, and the
uncertainty is that of daily means: rows of one day share its weather (one-sided, 5 %).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import GateResult, Waiver
from headrace.policy.losses import Yardstick
from headrace.policy.verdict import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.project.definition import GateDefinition
from headrace_trainer.core.target import Target

DAY_S = 86_400.0
_Z = 1.645

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
) -> GateResult:
    """One gate's result on the holdout. `scores`, `labels`: see `losses`. `champion`: its scores on the same rows, NaN
    where it was trained on them itself; None when there is no champion. `measured`: fitted on the rows before the holdout.
    """
    if gate.kind == "beats_prior":
        return _beats(gate, artifact, measured, measured.losses(scores, labels), measured.prior_losses(labels))
    if gate.kind == "not_worse_than_champion":
        if champion is None:
            return GateResult(
                gate.kind, UNMEASURED, None, gate.margin, artifact, "there is no champion to compare with"
            )
        fair = ~np.isnan(champion.reshape(len(champion), -1)).any(axis=1)
        if not fair.any():
            return GateResult(
                gate.kind, UNMEASURED, None, gate.margin, artifact, "the champion was trained on the whole holdout"
            )
        worse = measured.losses(scores[fair], labels[fair]) - measured.losses(champion[fair], labels[fair])
        return _not_worse(gate, artifact, measured, worse, at_s[fair])
    return GateResult(gate.kind, FAIL, None, None, artifact, f"no gate is called {gate.kind!r}")


def _beats(gate: GateDefinition, artifact: str, measured: Yardstick, losses: Floats, against: Floats) -> GateResult:
    gain = float((against - losses).mean())
    verdict = PASS if gain > gate.margin else FAIL
    return GateResult(
        gate.kind,
        verdict,
        gain,
        gate.margin,
        artifact,
        f"{measured.name} {losses.mean():.4f}, the prior's {against.mean():.4f}",
    )


def _not_worse(
    gate: GateDefinition, artifact: str, measured: Yardstick, differences: Floats, at_s: Floats
) -> GateResult:
    mean = float(differences.mean())
    error = day_error(differences, at_s)
    verdict = PASS if mean <= gate.margin else FAIL if mean - _Z * error > gate.margin else INCONCLUSIVE
    detail = (
        f"{measured.name} minus the champion's on {len(differences)} rows: {mean:+.4f} (day-block error {error:.4f})"
    )
    return GateResult(gate.kind, verdict, mean, gate.margin, artifact, detail)


def day_error(values: Floats, at_s: Floats) -> float:
    """Standard error of the mean, by whole days as blocks; infinite for a single day."""
    days = np.floor(at_s / DAY_S)
    means = np.array([values[days == day].mean() for day in np.unique(days)])
    return math.inf if len(means) < 2 else float(means.std(ddof=1) / math.sqrt(len(means)))


def judge_onnx(artifact: str, target: Target, scores: Floats, onnx: Floats) -> GateResult:
    """Whether a converted model says the same as the fitted one on replayed rows: within 1e-4 (of the spread of numbers) on
    99.9 % of at least 1000 rows, and no label flipped. Where it does not, the fitted one serves, so this never keeps a version
    from registering.
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
    is_same = close >= PARITY_SHARE and flipped == 0
    verdict, served = (PASS, "ONNX serves") if is_same else (INCONCLUSIVE, "skops serves")
    return GateResult(ONNX_GATE, verdict, close, PARITY_SHARE, artifact, f"{detail}; {served}")


def may_register(results: Sequence[GateResult], waivers: Sequence[Waiver] = ()) -> bool:
    """PASS, or a gate that has nothing to compare with; everything else keeps the version away from traffic, unless it is waived."""
    return not standing(results, waivers)


def standing(results: Sequence[GateResult], waivers: Sequence[Waiver]) -> list[GateResult]:
    """The gates that keep the version away."""
    waived = {waiver.gate for waiver in waivers if waiver.by.strip() and waiver.reason.strip()}
    return [result for result in results if result.verdict not in (PASS, UNMEASURED) and result.gate not in waived]


def used(results: Sequence[GateResult], waivers: Sequence[Waiver]) -> tuple[Waiver, ...]:
    """The waivers that made a difference."""
    stood = {result.gate for result in standing(results, ())}
    return tuple(waiver for waiver in waivers if waiver.gate in stood)
