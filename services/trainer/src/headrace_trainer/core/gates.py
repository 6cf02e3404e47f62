"""What a version must pass before it may ask for traffic.

Loss differences are paired, row by row, and their uncertainty is that of daily means: rows of one day share its
weather (one-sided, 5 %).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import GateResult, Waiver
from headrace.policy.verdict import FAIL, INCONCLUSIVE, PASS, UNMEASURED
from headrace.project.definition import GateDefinition

DAY_S = 86_400.0
_Z = 1.645
_LEAST = 1e-15

ONNX_GATE = "onnx_parity"
PARITY_WITHIN = 1e-4
PARITY_SHARE = 0.999
PARITY_ROWS = 1000

Floats = NDArray[np.float64]


def log_losses(scores: Floats, labels: Floats) -> Floats:
    """Per row, in nats; scores are kept 1e-15 away from 0 and 1."""
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))


def judge(
    gate: GateDefinition,
    artifact: str,
    labels: Floats,
    at_s: Floats,
    scores: Floats,
    champion: Floats | None,
    prior_share: float,
) -> GateResult:
    """One gate's result on the holdout. `champion`: its scores on the same rows, NaN where it was trained on
    them itself; None when there is no champion.
    """
    if gate.kind == "beats_prior":
        against = log_losses(np.full(len(labels), prior_share), labels)
        return _beats(gate, artifact, log_losses(scores, labels), against)
    if gate.kind == "not_worse_than_champion":
        if champion is None:
            return GateResult(
                gate.kind, UNMEASURED, None, gate.margin, artifact, "there is no champion to compare with"
            )
        fair = ~np.isnan(champion)
        if not fair.any():
            return GateResult(
                gate.kind, UNMEASURED, None, gate.margin, artifact, "the champion was trained on the whole holdout"
            )
        return _not_worse(gate, artifact, (log_losses(scores, labels) - log_losses(champion, labels))[fair], at_s[fair])
    return GateResult(gate.kind, FAIL, None, None, artifact, f"no gate is called {gate.kind!r}")


def _beats(gate: GateDefinition, artifact: str, losses: Floats, against: Floats) -> GateResult:
    gain = float((against - losses).mean())
    verdict = PASS if gain > gate.margin else FAIL
    return GateResult(
        gate.kind,
        verdict,
        gain,
        gate.margin,
        artifact,
        f"log-loss {losses.mean():.4f}, the prior's {against.mean():.4f}",
    )


def _not_worse(gate: GateDefinition, artifact: str, differences: Floats, at_s: Floats) -> GateResult:
    mean = float(differences.mean())
    error = day_error(differences, at_s)
    verdict = PASS if mean <= gate.margin else FAIL if mean - _Z * error > gate.margin else INCONCLUSIVE
    detail = f"log-loss minus the champion's on {len(differences)} rows: {mean:+.4f} (day-block error {error:.4f})"
    return GateResult(gate.kind, verdict, mean, gate.margin, artifact, detail)


def day_error(values: Floats, at_s: Floats) -> float:
    """Standard error of the mean, by whole days as blocks; infinite for a single day."""
    days = np.floor(at_s / DAY_S)
    means = np.array([values[days == day].mean() for day in np.unique(days)])
    return math.inf if len(means) < 2 else float(means.std(ddof=1) / math.sqrt(len(means)))


def judge_onnx(artifact: str, scores: Floats, onnx: Floats) -> GateResult:
    """Whether a converted model says the same as the fitted one on replayed rows: within 1e-4 on 99.9 % of at least 1000
    rows, and no label flipped. Where it does not, the fitted one serves, so this never keeps a version from registering.
    """
    rows = len(scores)
    apart = np.abs(scores - onnx)
    close = float((apart <= PARITY_WITHIN).mean()) if rows else 0.0
    flipped = int(((scores > 0.5) != (onnx > 0.5)).sum())
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
