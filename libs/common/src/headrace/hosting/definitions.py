"""What the host of a service needs of the applied projects: the topics that they use, so that it can wait for them."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.events.definition import ProjectDefinition


class Definitions(Protocol):
    """A view of the compiled projects that is always current."""

    @property
    def definitions(self) -> Sequence[ProjectDefinition]:
        """All applied projects. Does not block."""
        ...

    async def start(self) -> None:
        """Read what is applied now. Waits for the log; raises `Retryable` when it does not answer."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the projects until `stop` is set."""
        ...
