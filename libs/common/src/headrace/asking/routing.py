"""Which version a unit's traffic goes to: a pure hash of (deployment, salt, unit), the same for ever.

Two headers of a request take precedence over the shares: `headrace_version` previews a version, whatever the route
names, and `headrace_tenant` names who asks, which is looked up in the overrides of the route.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; logarithmic weights by Schindelhauer & Schomaker 2005): every
version draws a number in (0, 1) for the unit, and the lowest `-ln(draw) / share` wins. When one version's share grows,
units move to it only, and none leaves it: a unit that saw the new version keeps seeing it while a rollout advances.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from headrace.asking.headers import TENANT, VERSION
from headrace.events.registry import Route

PREVIEW = "preview"
_DRAWS = 2**64


class Assigned(NamedTuple):
    """The version that is to answer a unit, None when there is none. `override`: `preview`, `tenant`, or "" where the
    shares decided; `next`: the version that would have answered without a preview.
    """

    version: int | None
    override: str = ""
    next: int | None = None


def assign(route: Route | None, unit: str, headers: Mapping[str, bytes]) -> Assigned:
    """A preview before the override of a tenant before the shares; a preview header that is not a number is ignored.

    >>> assign(Route("d", {3: 1.0}, "s", 1), "AA-1", {VERSION: b"9"})
    Assigned(version=9, override='preview', next=3)
    >>> assign(Route("d", {3: 1.0}, "s", 1, overrides={"acme": 2}), "AA-1", {TENANT: b"acme"})
    Assigned(version=2, override='tenant', next=None)
    """
    routed = Assigned(None)
    if route is not None:
        tenant = headers.get(TENANT) if route.overrides else None
        own = route.overrides.get(tenant.decode("utf-8", "replace")) if tenant else None
        if own is not None:
            routed = Assigned(own, "tenant")
        else:
            routed = Assigned(choose_version(route.deployment, route.salt, unit, route.shares))
    preview = headers.get(VERSION)
    if preview and preview.isdigit() and len(preview) < 10:
        return Assigned(int(preview), PREVIEW, routed.version)
    return routed


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
