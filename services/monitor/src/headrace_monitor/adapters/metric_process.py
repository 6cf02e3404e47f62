"""`python -P -m headrace_monitor.adapters.metric_process`: the process that computes a project's own metrics.

It is the only process of the monitor that imports users' code. It reads requests from its standard input and answers on its
standard output, one MessagePack value after its length each; it ends with its input. A call that takes too much CPU or wall
time ends the process by a signal.
"""

import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

import msgspec
import numpy as np

from headrace.errors import Misconfigured
from headrace.project.compile import reference_of
from headrace.project.load import Allowed, load_allowed
from headrace.project.raised import place_and_message

CPU_S, WALL_S = 10.0, 60.0
MEMORY_BYTES = 2 * 2**30
_LENGTH = struct.Struct("<Q")


class Rows(msgspec.Struct):
    """Labelled rows: float64 bytes of shape (n,), and scores of (n,) or, for several classes, of (n, `classes`)."""

    labels: bytes
    scores: bytes
    classes: int = 0


class Asked(msgspec.Struct):
    """What is to be computed: a function of a project, on each of `parts`."""

    project: str
    reference: str
    function: str
    listed: str
    applied_file: str
    parts: list[Rows]


class Answer(msgspec.Struct):
    """`values`: per part, None where the metric is not defined. `failed`: why there are none, "" when there are."""

    values: list[float | None] = []
    failed: str = ""


def write(stream: IO[bytes], value: Asked | Answer) -> None:
    """Write a value after its length."""
    encoded = msgspec.msgpack.encode(value)
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """The next value as bytes; None where the stream has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    found = stream.read(size)
    return found if len(found) == size else None


def answer(asked: Asked) -> Answer:
    """The metric of each part, or why there is none. Whatever the user's code raises becomes a sentence."""
    module = asked.function.partition(":")[0]
    try:
        function = _function(asked)
        return Answer([_value(function, part) for part in asked.parts])
    except Misconfigured as error:
        return Answer(failed=str(error))
    except BaseException as error:
        return Answer(failed=place_and_message(error, module))


def _function(asked: Asked) -> Callable[..., Any]:
    """The function, taken from the project itself, since a definition could name anything."""
    project = load_allowed(asked.project, asked.reference, Allowed(asked.listed, asked.applied_file))
    for metric in (metric for deployment in project.deployments for metric in deployment.metrics):
        if not isinstance(metric, str) and reference_of(metric) == asked.function:
            return metric
    raise Misconfigured(f"project {asked.project} names the metric {asked.function!r} no more: apply the project again")


def _value(function: Callable[..., Any], part: Rows) -> float | None:
    labels, scores = np.frombuffer(part.labels), np.frombuffer(part.scores)
    found = function(labels.copy(), (scores.reshape(-1, part.classes) if part.classes else scores).copy())
    if isinstance(found, bool) or not isinstance(found, int | float | np.integer | np.floating) or math.isinf(found):
        raise Misconfigured(f"it returned {found!r:.80} for {len(labels)} rows, and must return a finite number")
    return None if math.isnan(found) else float(found)


def main() -> int:
    """Answer until the input ends."""
    for what, most in ((resource.RLIMIT_DATA, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    os.nice(5)
    # NB: what the user's code prints must not come between answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (encoded := read(sys.stdin.buffer)) is not None:
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        signal.setitimer(signal.ITIMER_REAL, WALL_S)
        found = answer(msgspec.msgpack.decode(encoded, type=Asked))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write(answers, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
