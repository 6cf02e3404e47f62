"""The user's stream transforms: an async generator over messages, with the platform's contract around it.

    @pipeline(movements, to=[landings, outcomes("flight-delay")])
    async def land(messages):
        async for message in messages:
            yield Landing(...)
            yield Outcome(unit=..., label=1.0, at=...)

What is yielded before the next message is taken belongs to the present one: it carries that message's origin, and is
written before the message counts as done. An event goes to the source whose event type it is.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.project.sources import RawStream, Source

Transform = Callable[[AsyncIterator[Any]], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ground truth of a request of `unit`; `at`: when it became known (aware datetime or seconds since the epoch)."""

    unit: str
    label: float
    at: datetime | float


@dataclass(frozen=True)
class OutcomesOf:
    """The outcomes topic as a pipeline's output, for one deployment."""

    deployment: str


def outcomes(deployment: str) -> OutcomesOf:
    """The outcomes of a deployment, as an output of a pipeline."""
    return OutcomesOf(deployment)


@dataclass(frozen=True)
class Pipeline:
    """A declared transform: the messages of `raw` become events of `to`."""

    name: str
    raw: RawStream
    to: tuple[Source | OutcomesOf, ...]
    transform: Transform


def pipeline(raw: RawStream, *, to: Sequence[Source | OutcomesOf]) -> Callable[[Transform], Pipeline]:
    """Declare an async generator function as a pipeline (a Faust agent in the pipeline service)."""

    def declare(transform: Transform) -> Pipeline:
        return Pipeline(getattr(transform, "__name__", raw.name), raw, tuple(to), transform)

    return declare
