"""Which compression a body has, and whether it stays within the limit once it is uncompressed. Nothing is unpacked beyond the limit."""

import zlib
from dataclasses import dataclass

GZIP, DEFLATE = "gzip", "deflate"
PLAIN = ("", "identity")
_WINDOWS = {GZIP: 31, "x-gzip": 31, DEFLATE: 15}
ENCODINGS = frozenset([*PLAIN, *_WINDOWS])


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The uncompressed body has more bytes than the limit."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The body cannot be uncompressed, for this reason."""

    reason: str


def unpacked(body: bytes, encoding: str, limit_bytes: int) -> bytes | TooLarge | Broken:
    """The uncompressed bytes; at most one byte more than the limit is ever unpacked.

    >>> unpacked(zlib.compress(bytes(1_000_000)), "deflate", 1000)
    TooLarge()
    """
    if encoding in PLAIN:
        return body
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        found = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        return Broken(f"the body is not {encoding}: {error}")
    if len(found) > limit_bytes:
        return TooLarge()
    if not unpacker.eof or unpacker.unused_data:
        return Broken(f"the {encoding} body is cut off, or something follows it")
    return found


def packed(body: bytes, encoding: str) -> bytes:
    """Compressed bytes.

    >>> unpacked(packed(b"abc", "gzip"), "gzip", 10)
    b'abc'
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, _WINDOWS[encoding])
    return packer.compress(body) + packer.flush()


def choose_encoding(accept_encoding: str, size_bytes: int, worth_bytes: int = 1024) -> str | None:
    """The encoding of an answer of this size for a client that accepts these encodings; None where it stays uncompressed.

    >>> choose_encoding("gzip, deflate", 5000), choose_encoding("gzip", 100), choose_encoding("gzip;q=0, br", 5000)
    ('gzip', None, None)
    """
    if size_bytes < worth_bytes or not accept_encoding:
        return None
    offers = [offer.strip().replace(" ", "") for offer in accept_encoding.lower().split(",")]
    wanted = {offer.partition(";")[0] for offer in offers if not offer.endswith((";q=0", ";q=0.0"))}
    return next((encoding for encoding in (GZIP, DEFLATE) if encoding in wanted), None)
