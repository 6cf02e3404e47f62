"""Bytes as plain values, without our types: for people who look at a record that the codec cannot read.

MessagePack is read by the `msgpack` package, JSON by the standard library. Anything else is shown as text or escaped
bytes. Sizes are bounded before anything is built, since a record holds whatever its sender wrote.
"""

import json
from typing import Any

import msgpack

from headrace.log.codec import is_json

# Larger values are not decoded, and at most so many items of a record are built.
MAX_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 100_000
_SHOWN_BYTES = 2_000


def untyped(value: bytes | None, content_type: str = "") -> Any:
    """The content of a record: maps, lists, texts and numbers. Never raises.

    None for a tombstone. Bytes that are neither MessagePack nor JSON are returned as text, escaped where not printable,
    and cut after 2,000 bytes.

    >>> untyped(b"\\x81\\xa1a\\x01"), untyped(b'{"a": 1}'), untyped(b"\\xc1\\x00"), untyped(b"hello")
    ({'a': 1}, {'a': 1}, '\\\\xc1\\\\x00', 'hello')
    """
    if value is None:
        return None
    if len(value) > MAX_BYTES:
        return f"{shown(value)} ({len(value):,} bytes, more than is decoded here)"
    try:
        return json.loads(value) if is_json(value, content_type) else _unpacked(value)
    except (ValueError, RecursionError, msgpack.UnpackException, UnicodeDecodeError):
        return shown(value)


def _unpacked(value: bytes) -> Any:
    # NB: MessagePack reads an ASCII byte as a small number; text is meant then.
    if value[:1] and value[0] < 0x80 and len(value) > 1:
        raise ValueError("text")
    return _plain(
        msgpack.unpackb(
            value,
            strict_map_key=False,
            max_str_len=MAX_BYTES,
            max_bin_len=MAX_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=MAX_BYTES,
            ext_hook=lambda code, data: f"ext {code}: {shown(data)}",
            # A key may be a list or a map, which Python cannot hash. Pairs take any key.
            object_pairs_hook=_Pairs,
        )
    )


class _Pairs(list[tuple[Any, Any]]):
    """The entries of one map in their order."""


def _plain(value: Any) -> Any:
    """Values that can be printed as JSON: bytes and map keys become text. The unpacker limits the depth."""
    if isinstance(value, bytes):
        return shown(value)
    if isinstance(value, _Pairs):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(found) for key, found in value}
    if isinstance(value, list):
        return [_plain(found) for found in value]
    if isinstance(value, msgpack.Timestamp):
        return f"{value.seconds}.{value.nanoseconds:09d} s since 1970"
    return value


def shown(raw: bytes) -> str:
    """Bytes as text, escaped where they are not UTF-8. Cut after 2,000 bytes.

    >>> shown(b"caf\\xc3\\xa9"), shown(b"\\xff\\x00")
    ('café', '\\\\xff\\\\x00')
    """
    head = raw[:_SHOWN_BYTES]
    more = f"... ({len(raw):,} bytes)" if len(raw) > len(head) else ""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = repr(head)[2:-1]
    return text + more
