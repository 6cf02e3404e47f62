"""Runs a back-test in a process of its own: it imports the user's `build`, and the cores of monitor and trainer."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import HeadraceError, Misconfigured
from headrace_broker import die_with_parent
from headrace_cli.installation.local import Local, environ_here

MODULE = "headrace_backtest"
# A line is a whole report at the most.
_LINE_BYTES = 64 * 1024 * 1024
# So much of the error output is shown when the process ends without a word.
_TAIL = 300

Progress = Callable[[float, str], None]


async def ask(order: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The report of a back-test. `order`: the fields of `headrace_backtest.order.Order`.

    Raises `Misconfigured` where it cannot be done, and `HeadraceError` where the process ended otherwise.
    """
    environ = {
        **environ_here(),
        "OMP_NUM_THREADS": "1",
        "HEADRACE_APPLIED_FILE": os.environ.get("HEADRACE_APPLIED_FILE", str(Local.here().home / "applied.json")),
    }
    # NB: -P: a file in this folder (queue.py) must not replace a module of that name.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", MODULE, json.dumps(order)),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        preexec_fn=die_with_parent,
    )
    assert child.stdout is not None  # both are pipes
    assert child.stderr is not None
    errors = asyncio.create_task(child.stderr.read())
    try:
        async for line in child.stdout:
            found = json.loads(line)
            match found["type"]:
                case "progress":
                    progress(found["share"], found["what"])
                case "done":
                    return found["report"]
                case _:
                    raise (Misconfigured if found["is_mistake"] else HeadraceError)(found["reason"])
        await child.wait()
        said = " ".join((await errors).decode(errors="replace").split())[-_TAIL:]
        raise HeadraceError(f"the back-test ended without a report (exit code {child.returncode}): {said or 'no word'}")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        errors.cancel()
        await asyncio.gather(errors, return_exceptions=True)
