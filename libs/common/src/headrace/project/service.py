"""Runs a service of Headrace: the host of `headrace.hosting.runtime`, with the applied projects in its context."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from headrace.hosting import runtime
from headrace.hosting.runtime import Runnable
from headrace.hosting.settings import Settings
from headrace.log.port import Log
from headrace.project.applied import Projects

Context = runtime.Context[Projects]
Build = Callable[[Context], Awaitable[Sequence[Runnable]]]


def main(name: str, build: Build, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> int:
    """The body of every service's `__main__`. Returns the exit code. `loop_factory`: another event loop than asyncio's
    own.
    """
    return runtime.main(name, build, Projects, loop_factory)


async def run_service(name: str, build: Build, settings: Settings, log: Log | None = None) -> int:
    """Run a service until a signal or a failure. Returns the exit code. `log`: used instead of the broker of
    `settings`.
    """
    return await runtime.run_service(name, build, Projects, settings, log)
