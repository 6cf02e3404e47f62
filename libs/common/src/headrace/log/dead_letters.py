"""Dead letters: the bytes as they came, with the reason why they could not be read (headers named as in Kafka Connect).

A dead letter always fits into its topic. What is too long is cut, and the letter records it (`headrace.cut`), with the
size and the digest of the whole value.
"""

import hashlib

from headrace.errors import Poison
from headrace.log.port import MAX_VALUE_BYTES, Headers, Out, Record

MAX_KEY_BYTES = 65_536
MAX_HEADERS_BYTES = 65_536
MAX_HEADERS = 256
_MAX_REASON_BYTES = 2048
_PREFIX = "__connect.errors."


def dead_letter(topic: str, record: Record, poison: Poison, service: str, *, stands_for: int = 1) -> Out:
    """The record for `dlq.<service>`: value, key and headers unchanged as far as they fit, with the reason.

    `stands_for`: the number of records that this letter was sampled from.
    """
    value = None if record.value is None else record.value[:MAX_VALUE_BYTES]
    key = None if record.key is None else record.key[:MAX_KEY_BYTES]
    headers = _fitting(record.headers)
    reasons = {
        f"{_PREFIX}topic": record.topic,
        f"{_PREFIX}partition": str(record.partition),
        f"{_PREFIX}offset": str(record.offset),
        f"{_PREFIX}exception.class.name": "Poison",
        f"{_PREFIX}exception.message": poison.reason,
        "headrace.service": service,
        "headrace.timestamp_ms": str(record.timestamp_ms),
    }
    if poison.field:
        reasons["headrace.field"] = poison.field
    if stands_for > 1:
        reasons["headrace.stands_for"] = str(stands_for)
    size = record.size_bytes or len(record.value or b"")
    cuts = [
        *([f"value: {len(value or b'')} of {size} bytes"] if size > len(value or b"") else []),
        *([f"key: {len(key)} of {len(record.key or b'')} bytes"] if key != record.key and key is not None else []),
        *([f"headers: {len(headers)} of {len(record.headers)} whole"] if headers != record.headers else []),
    ]
    if cuts:
        reasons["headrace.cut"] = "; ".join(cuts)
        reasons["headrace.size_bytes"] = str(size)
        reasons["headrace.sha256"] = record.sha256 or hashlib.sha256(record.value or b"").hexdigest()
    return Out(topic, key, value, headers + tuple((name, _text(text)) for name, text in reasons.items()))


def _fitting(headers: Headers) -> Headers:
    """As many of the first headers as fit, each of them whole."""
    left = MAX_HEADERS_BYTES
    for count, (name, value) in enumerate(headers):
        left -= len(name.encode("utf-8", "replace")) + len(value or b"")
        if left < 0 or count >= MAX_HEADERS:
            return headers[:count]
    return headers


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")[:_MAX_REASON_BYTES]
