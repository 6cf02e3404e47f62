"""The limits of a gateway process. Ports, keys and the two limits that differ between sites are common settings (`HEADRACE_*`)."""

from dataclasses import dataclass

from headrace.asking.requests import LONGEST_WAIT_MS, MAX_ROWS


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one gateway process.

    `body_bytes`: of one HTTP body, uncompressed. `header_bytes`: of the head of a request. `connections`: open at once.
    `in_flight`: rows that wait for an answer. `rows`: of one HTTP request.
    `deadline_ms`: how long a request waits unless it names a deadline; `longest_deadline_ms`: the longest that it may name.
    `head_within_s`, `body_within_s`: how long a client may take to send the head and the body.
    `remembered_keys`: Idempotency-Keys whose bodies are compared with later ones.
    """

    body_bytes: int = 65_536
    header_bytes: int = 32_768
    connections: int = 1_000
    in_flight: int = 2_000
    rows: int = MAX_ROWS
    deadline_ms: int = 2_000
    longest_deadline_ms: int = LONGEST_WAIT_MS
    head_within_s: float = 10.0
    body_within_s: float = 10.0
    remembered_keys: int = 20_000
