"""W3C trace context, carried per record: the trace id stays, every service adds its own span id."""

import random
import re

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def child_of(traceparent: str | None) -> str:
    """The traceparent for what follows from a record: same trace, new span; a new trace when there was none (or no valid one).

    >>> child_of("00-" + "a" * 32 + "-" + "b" * 16 + "-01")[:36]
    '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-'
    """
    found = _FORM.fullmatch(traceparent or "")
    trace, flags = (found[1], found[3]) if found else (f"{random.getrandbits(128):032x}", "01")
    return f"00-{trace}-{random.getrandbits(64):016x}-{flags}"
