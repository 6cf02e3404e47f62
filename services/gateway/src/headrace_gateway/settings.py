"""The limits of a gateway process. Ports, keys and the two limits that differ between sites are common settings (`HEADRACE_*`)."""

from dataclasses import dataclass

from headrace.asking.requests import LONGEST_WAIT_MS, MAX_ROWS
from headrace_edge.rules.limits import EdgeLimits


@dataclass(frozen=True, slots=True)
class Limits(EdgeLimits):
    """Bounds of one gateway process, beside those of its edge.

    `in_flight`: rows that wait for an answer. `rows`: of one HTTP request. `deadline_ms`: how long a request waits unless it names a
    deadline; `longest_deadline_ms`: the longest that it may name. `remembered_keys`: Idempotency-Keys whose bodies are compared
    with later ones.
    """

    in_flight: int = 2_000
    rows: int = MAX_ROWS
    deadline_ms: int = 2_000
    longest_deadline_ms: int = LONGEST_WAIT_MS
    remembered_keys: int = 20_000
