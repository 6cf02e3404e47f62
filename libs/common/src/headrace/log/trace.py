"""W3C trace context per record: the trace id stays, and each record that follows from another has its own span id.

Ids are derived from the previous record and the id of the following one, so that a repeated record is the same span.
"""

import re
from hashlib import blake2b

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def child_of(traceparent: str | None, of: str) -> str:
    """The traceparent of the record with the id `of`, which follows from one with `traceparent`.

    The trace stays the same and the span is new. Without a valid `traceparent` a new trace begins.

    >>> child_of("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "decision-1")
    '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-38c52157f5a458c8-01'
    """
    found = _FORM.fullmatch(traceparent or "")
    seed = f"{traceparent or ''}\n{of}".encode()
    trace, flags = (found[1], found[3]) if found else (blake2b(seed, digest_size=16, person=b"trace").hexdigest(), "01")
    return f"00-{trace}-{blake2b(seed, digest_size=8, person=b'span').hexdigest()}-{flags}"
