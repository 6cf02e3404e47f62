"""Verdicts on running rollouts, the evidence behind them, and the order in which verdicts are worse than each other.

Not knowing is not failing, and "not failed" is not "passed".
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

PASS, INCONCLUSIVE, UNMEASURED, FAIL = "PASS", "INCONCLUSIVE", "UNMEASURED", "FAIL"
_ORDER = {PASS: 0, INCONCLUSIVE: 1, UNMEASURED: 2, FAIL: 3}

# What a verdict waits for before it can say more: any request of the deployment in this step; enough decisions for the step; its
# least time; labels; nothing.
WaitingFor = Literal["", "traffic", "decisions", "time", "labels"]


class Evidence(msgspec.Struct, frozen=True):
    """One metric's word. `kind`: `guardrail` (needs no label) or `label`; `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL.

    `measured` within `limit` is PASS; `bound`: of harm, what the test has shown, in units and with its confidence ("" where it has
    shown nothing): that decides, and `measured` may lie on either side of `limit`. `rows`: decisions (or labels) that it rests on; `blocks`: closed blocks.
    `block_from_s`, `block_to_s`: the newest block. `e_value`: against harm; `alpha`: this metric's part of the
    rollout's error rate.
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
    """What the monitor says of a running rollout; the only thing that moves it besides operators.

    `guardrails`, `labels`: the verdict by each kind of evidence: guardrails FAIL or labels FAIL mean harm; labels PASS
    means non-inferiority is shown. `number`: the canary step that it is about. `clock_s`: the deployment's clock (the
    event time that the bulk of its decisions has reached). `step_decisions`: of units assigned to the version in this step.
    `waiting_for`: see `WaitingFor`; `traffic`: nobody has asked since the step began. `has_clock`: False while the deployment's
    clock does not run yet; then `clock_s` means nothing.
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


def worst(verdicts: Iterable[str]) -> str:
    """The verdict over several: the worst of them; PASS over none.

    >>> worst([PASS, UNMEASURED, INCONCLUSIVE])
    'UNMEASURED'
    """
    return max(verdicts, key=_ORDER.__getitem__, default=PASS)


def told(found: Evidence) -> str:
    """One metric of a verdict as a person reads it: what the test has shown, else the measured value beside the limit.

    >>> told(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50 raised"))
    'errors 1 against a limit of 0.02 (50 of 50 raised)'
    >>> told(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50", bound="over 0.02 above its control's share, 98.8 % sure"))
    "errors: over 0.02 above its control's share, 98.8 % sure (50 of 50)"
    """
    detail = f" ({found.detail})" if found.detail else ""
    if found.bound:
        return f"{found.metric}: {found.bound}{detail}"
    measured = "unmeasured" if found.measured is None else f"{found.measured:.4g}"
    limit = "" if found.limit is None else f" against a limit of {found.limit:.4g}"
    return f"{found.metric} {measured}{limit}{detail}"
