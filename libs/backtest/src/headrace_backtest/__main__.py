"""`python -m headrace_backtest ORDER`: a back-test in a process of its own, since it runs the user's `build`.

ORDER is the JSON of `Order`. Every line of the output is the JSON of a `Line`, the last one `done` or `failed`.
"""

import asyncio
import os
import sys

import msgspec

from headrace.clock import SystemClock
from headrace.errors import HeadraceError, Misconfigured
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.project.applied import Projects
from headrace.project.load import Allowed
from headrace_backtest.order import Done, Failed, Line, Order, Progressed
from headrace_backtest.running import Place, back_test

CONNECT_WITHIN_S = 3.0
# So many lines of progress at the most.
_STEPS = 200


class _Lines:
    """Writes lines to a file descriptor of its own: what the user's code prints goes to the error output."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._step = -1

    def write(self, line: Line) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def progress(self, share: float, what: str) -> None:
        step = int(share * _STEPS)
        if step != self._step:
            self._step = step
            self.write(Progressed(share, what))


async def _run(order: Order, lines: _Lines) -> None:
    settings = Settings.load()
    log = KafkaLog(settings)
    await connect(log, CONNECT_WITHIN_S, settings)
    topics = topics_of(settings)
    codec = Codec(topics)
    projects = Projects(log, codec, topics)
    try:
        await projects.start()
        allowed = Allowed(settings.allowed_projects, settings.applied_file)
        place = Place(log, codec, topics, projects, allowed, SystemClock().now_s())
        lines.write(Done(await back_test(place, order, lines.progress)))
    finally:
        await projects.stop()
        await log.stop()


def main() -> int:
    """Run, and return the exit code."""
    lines = _Lines()
    try:
        asyncio.run(_run(msgspec.json.decode(sys.argv[1], type=Order), lines))
    except HeadraceError as error:
        lines.write(Failed(str(error), isinstance(error, Misconfigured)))
        return 2 if isinstance(error, Misconfigured) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
