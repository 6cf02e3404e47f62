"""What a gateway lets in, and how long it waits; the ports are in the common settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one gateway process.

    `body_bytes`: of one HTTP body. `in_flight`: rows that wait for an answer. `rows`: of one HTTP request.
    `deadline_ms`: how long a request waits unless it says otherwise; `longest_deadline_ms`: what it may say.
    `body_within_s`: how long a client may take to send its body.
    """

    body_bytes: int = 65_536
    in_flight: int = 2_000
    rows: int = 256
    deadline_ms: int = 2_000
    longest_deadline_ms: int = 30_000
    body_within_s: float = 10.0
