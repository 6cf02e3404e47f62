"""The user's stream transforms: an async generator over messages.

    @pipeline(movements, to=[landings, outcomes("flight-delay")])
    async def land(messages):
        async for message in messages:
            yield Landing(...)
            yield Outcome(unit=..., label=1.0, at=...)

    @pipeline(movements, to=[landings], enrich=[carriers], remembers="6h")
    async def land(messages, carriers):
        async for message in messages:
            name = carriers[message["carrier"]]["name"]
            ...

What is yielded before the next message is taken belongs to the present message: it carries that message's origin, and
is written before the message counts as done. An event goes to the source of its event type.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.project.sources import RawStream, Reference, Source

# The arguments are the messages, then a mapping per reference.
Transform = Callable[..., AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ground truth of a request of `unit`.

    - `label`: 0 or 1, the name of a class, or a number; see `headrace.project.labels`.
    - `at`: when it became known (aware datetime or seconds since the epoch).
    - `request_id`: the request that it belongs to, where known; it then belongs to no other request.
    - `corrects`: the id of the outcome that it corrects.
    - `id`: its own id, by which it can be corrected; by default it is derived from the message's place.
    """

    unit: str
    label: float | str
    at: datetime | float
    request_id: str | None = None
    corrects: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class OutcomesOf:
    """The outcomes topic as a pipeline's output, for one deployment."""

    deployment: str


def outcomes(deployment: str) -> OutcomesOf:
    """The outcomes of a deployment, as an output of a pipeline."""
    return OutcomesOf(deployment)


@dataclass(frozen=True)
class Pipeline:
    """A declared transform: messages of `raw` become events of `to`."""

    name: str
    raw: RawStream
    to: tuple[Source | OutcomesOf, ...]
    transform: Transform
    enrich: tuple[Reference, ...] = ()
    remembers: str | float = 0.0
    limit: str | float = "30s"


def pipeline(
    raw: RawStream,
    *,
    to: Sequence[Source | OutcomesOf],
    enrich: Sequence[Reference] = (),
    remembers: str | float = 0.0,
    limit: str | float = "30s",
) -> Callable[[Transform], Pipeline]:
    """Declare an async generator function as a pipeline (a Faust agent in the pipeline service).

    - `to`: the sources and outcomes that it yields.
    - `enrich`: references whose mappings the function gets after its messages, in this order.
    - `remembers`: how far back its own memory reaches. After a restart so much of the raw stream, by append time, is
      read again.
    - `limit`: a message over which the function neither yields nor continues for so long is dead-lettered as hung. Time
      spent waiting for a core does not count.
    """

    def declare(transform: Transform) -> Pipeline:
        name = getattr(transform, "__name__", raw.name)
        return Pipeline(name, raw, tuple(to), transform, tuple(enrich), remembers, limit)

    return declare
