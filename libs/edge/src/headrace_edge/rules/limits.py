"""How much one process lets in from outside, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Bounds of the HTTP edge of one process.

    `body_bytes`: of one body, uncompressed. `header_bytes`: of the head of a request. `connections`: open at once.
    `head_within_s`, `body_within_s`: how long a client may take to send the head and the body. `read_within_s`: how long a
    client may read nothing at all of an answer that waits for it; an answer may last for ever while it is read.
    """

    body_bytes: int = 65_536
    header_bytes: int = 32_768
    connections: int = 1_000
    head_within_s: float = 10.0
    body_within_s: float = 10.0
    read_within_s: float = 30.0
