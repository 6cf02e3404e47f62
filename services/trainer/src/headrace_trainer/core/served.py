"""Whether the rows to be trained on are the rows that were served: the newest logged ones, recomputed as training does it.

A view stamped with another time, a look into the future, or another unit in training may leave every metric of the
holdout as it is; here it cannot hide.
"""

from headrace.events.registry import GateResult
from headrace.events.verdicts import FAIL, PASS
from headrace.features.parity import Parity
from headrace.registry.waivers import PARITY_GATE


def judge_parity(found: Parity) -> GateResult | None:
    """PASS when every row equals the fold up to the offsets that it was served from; None where no row with features was served
    yet. The gate measures rows, no artifact."""
    if found.tiles is None or found.as_of is None:
        return None
    detail = f"{found.rows:,} served rows, {found.as_of:.2%} equal to all that was available at their instants"
    if found.tiles < 1.0 and found.skew is not None:
        detail = f"{found.skew.feature} differs in {found.skew.share:.1%} of {found.rows:,} rows: {found.skew.cause}"
    return GateResult(PARITY_GATE, PASS if found.tiles >= 1.0 else FAIL, found.tiles, 1.0, "", detail)
