"""When served rows differ too much from recomputed ones: any by `parity_tiles`, one in a thousand by `parity_as_of`."""

from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.log.envelope import derived_id

PARITY_TILES = 1.0
PARITY_AS_OF = 0.999


def skew_of(deployment: str, window: WindowClosed) -> FindingOpened | None:
    """The finding of a window whose rows were compared; None when they are equal enough."""
    tiles, as_of = window.parity_tiles, window.parity_as_of
    if tiles is None or as_of is None or (tiles >= PARITY_TILES and as_of >= PARITY_AS_OF):
        return None
    is_code = tiles < PARITY_TILES
    seen = window.skew
    what = f"{seen.feature} in {seen.share:.1%} of them ({seen.cause})" if seen else "no feature can be named"
    return FindingOpened(
        finding=derived_id(deployment, "skew", window.from_s)[:16],
        deployment=deployment,
        kind="skew",
        summary=f"served rows differ from recomputed ones (parity_tiles {tiles:.4f}, parity_as_of {as_of:.4f}): {what}",
        at_s=window.to_s,
        detector="parity",
        measured=tiles if is_code else as_of,
        limit=PARITY_TILES if is_code else PARITY_AS_OF,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=seen.feature if seen else "",
    )
