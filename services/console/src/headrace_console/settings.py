"""The limits of a console process. Its port and its folder are common settings (`HEADRACE_*`)."""

from dataclasses import dataclass

from headrace_edge.rules.limits import EdgeLimits


@dataclass(frozen=True, slots=True)
class Limits(EdgeLimits):
    """Bounds of one console process, besides those of its edge.

    `streams`: pages that are followed at once. `forget_s`: how long a document is held that nobody reads any more.
    `answer_s`: how long an act waits for the registry's answer. `read_s`: how long the read of one record may take, and
    `reads` how many run at once.
    """

    body_bytes: int = 8_192
    connections: int = 400
    streams: int = 200
    forget_s: float = 30.0
    answer_s: float = 10.0
    read_s: float = 5.0
    reads: int = 4


# Documents are looked at so often; what changed since is made again, if a page shows it.
TICK_S = 0.25
