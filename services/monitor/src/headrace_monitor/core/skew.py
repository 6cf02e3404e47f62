"""When served feature rows differ too much from recomputed ones.

`parity_tiles` (the logged row equals the fold of the source up to the offsets that it names) must be 1: any difference means
that serving and recomputing use different code. `parity_as_of` (the logged row equals the fold of all events that were
available at its instant) may miss 1 by one row in a thousand: it also falls while features lag.
"""

from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.log.envelope import derived_id

KIND = "skew"
PARITY_TILES = 1.0
PARITY_AS_OF = 0.999


def skew_of(deployment: str, window: WindowClosed) -> FindingOpened | None:
    """The finding of a window; None when its rows are equal enough, or when none was compared."""
    tiles, as_of = window.parity_tiles, window.parity_as_of
    if tiles is None or as_of is None or (tiles >= PARITY_TILES and as_of >= PARITY_AS_OF):
        return None
    is_code = tiles < PARITY_TILES
    seen = window.skew
    what = f"{seen.feature} in {seen.share:.1%} of them ({seen.cause})" if seen else "no feature can be named"
    return FindingOpened(
        finding=derived_id(deployment, KIND, window.from_s)[:16],
        deployment=deployment,
        kind=KIND,
        summary=f"served rows differ from recomputed ones (parity_tiles {tiles:.4f}, parity_as_of {as_of:.4f}): {what}",
        at_s=window.to_s,
        detector="parity",
        measured=tiles if is_code else as_of,
        limit=PARITY_TILES if is_code else PARITY_AS_OF,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=seen.feature if seen else "",
    )
