"""Which version a unit's traffic goes to: a pure hash of (deployment, salt, unit), the same for ever.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; logarithmic weights by Schindelhauer & Schomaker 2005): every
version draws a number in (0, 1) for the unit, and the lowest `-ln(draw) / share` wins. When one version's share grows,
units move to it only, and none leaves it: a unit that saw the new version keeps seeing it while a rollout advances.
"""

import hashlib
import math
from collections.abc import Mapping

_DRAWS = 2**64


def choose_version(deployment: str, salt: str, unit: str, shares: Mapping[int, float]) -> int | None:
    """The version that answers `unit`; None when no version has a share.

    >>> choose_version("flight-delay", "s", "AA-1", {3: 1.0})
    3
    >>> choose_version("flight-delay", "s", "AA-1", {}) is None
    True
    """
    sharing = [version for version, share in shares.items() if share > 0]
    if len(sharing) <= 1:
        return sharing[0] if sharing else None
    return min(sharing, key=lambda version: (_distance(deployment, salt, unit, version) / shares[version], version))


def _distance(deployment: str, salt: str, unit: str, version: int) -> float:
    """Exponentially distributed with mean 1."""
    text = "\x1f".join((deployment, salt, str(version), unit))
    drawn = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return -math.log((drawn + 0.5) / _DRAWS)
