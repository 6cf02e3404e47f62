"""Verdicts on running rollouts, their evidence, and the order of verdicts.

Not knowing is not failing, and "not failed" is not "passed".
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

PASS, INCONCLUSIVE, UNMEASURED, FAIL = "PASS", "INCONCLUSIVE", "UNMEASURED", "FAIL"
_ORDER = {PASS: 0, INCONCLUSIVE: 1, UNMEASURED: 2, FAIL: 3}

# What a verdict waits for: any request of the deployment in this step; enough decisions; the least time of the step;
# labels; or nothing.
WaitingFor = Literal["", "traffic", "decisions", "time", "labels"]


class Evidence(msgspec.Struct, frozen=True):
    """The evidence of one metric. `kind`: `guardrail` (needs no label) or `label`.

    `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL. `measured` within `limit` is PASS. `bound`: the harm that the
    test has shown, with its unit and confidence, "" for none; where there is one it decides, and `measured` may be
    above or below `limit`. `rows`: the decisions (or labels) behind it. `blocks`: the closed blocks. `block_from_s`,
    `block_to_s`: the newest block. `e_value`: the evidence of harm. `alpha`: this metric's part of the rollout's error
    rate.
    """

    metric: str
    kind: str
    verdict: str
    measured: float | None = None
    limit: float | None = None
    detail: str = ""
    rows: int = 0
    blocks: int = 0
    block_from_s: float | None = None
    block_to_s: float | None = None
    e_value: float | None = None
    alpha: float | None = None
    bound: str = ""


class VerdictGiven(msgspec.Struct, frozen=True):
    """The monitor's verdict on a running rollout. Besides operators, only verdicts move a rollout.

    `guardrails`, `labels`: the verdict by kind of evidence. FAIL of either means harm; PASS of labels means that
    non-inferiority is shown. `number`: the canary step concerned. `clock_s`: the deployment's clock (the event time
    that the bulk of its decisions has reached). `step_decisions`: the decisions in this step for units assigned to the version.
    `waiting_for`: see `WaitingFor`; `traffic` means that no request came since the step began. `has_clock`: False while
    the deployment's clock is not known yet; then `clock_s` has no meaning. `cycles`: the whole cycles of labels so far.
    `labels` is INCONCLUSIVE once there are enough of them, and UNMEASURED before. `unlabelled`: no label of this
    deployment can ever make it PASS (there is none, or it is a number without a range).
    """

    deployment: str
    rollout: str
    version: int
    number: int
    guardrails: str
    labels: str
    clock_s: float
    step_decisions: int = 0
    decisions: int = 0
    label_count: int = 0
    blocks: int = 0
    evidence: tuple[Evidence, ...] = ()
    waiting_for: WaitingFor = ""
    has_clock: bool = True
    cycles: int = 0
    unlabelled: bool = False


def worst(verdicts: Iterable[str]) -> str:
    """The verdict over several: the worst of them; PASS for none.

    >>> worst([PASS, UNMEASURED, INCONCLUSIVE])
    'UNMEASURED'
    """
    return max(verdicts, key=_ORDER.__getitem__, default=PASS)


def evidence_text(found: Evidence) -> str:
    """One metric of a verdict as text: what the test has shown, or else the measured value beside the limit.

    >>> evidence_text(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50 raised"))
    'errors 1 against a limit of 0.02 (50 of 50 raised)'
    >>> evidence_text(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50", bound="over 0.02 above its control's share, 98.8 % sure"))
    "errors: over 0.02 above its control's share, 98.8 % sure (50 of 50)"
    """
    detail = f" ({found.detail})" if found.detail else ""
    if found.bound:
        return f"{found.metric}: {found.bound}{detail}"
    measured = "unmeasured" if found.measured is None else f"{found.measured:.4g}"
    limit = "" if found.limit is None else f" against a limit of {found.limit:.4g}"
    return f"{found.metric} {measured}{limit}{detail}"
