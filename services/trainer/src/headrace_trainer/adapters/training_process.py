"""`python -m headrace_trainer.adapters.training_process FOLDER SUPERVISOR`: the process that trains.

Its supervisor begins, watches and ends it; see `supervisor`. It is the only process of the trainer that imports users' code. It has its
own connection to the log and joins no group. What goes wrong in it ends this run and nothing else.
"""

import asyncio
import contextlib
import os
import resource
import sys
from pathlib import Path

from headrace_trainer.adapters.processes import die_with

NICE = 5
# The kernel ends this process first when memory is short: a run can be begun again, serving must not stop.
OOM_SCORE = 500


def limit(memory_bytes: int, cpu_s: float) -> None:
    """Limit what this process and each of its children may use; serving has priority."""
    for what, most in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CPU, int(cpu_s) + 1)):
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


async def train(folder: Path) -> None:
    """The run of this folder, to its end."""
    # Imported here: the limits of `main` must hold before anything heavy is loaded.
    from headrace.clock import SystemClock
    from headrace.hosting.health import Health
    from headrace.hosting.naming import topics_of
    from headrace.hosting.runs import read_folder
    from headrace.hosting.settings import Settings
    from headrace.log.codec import Codec
    from headrace.log.connecting import connect
    from headrace.log.kafka import KafkaLog
    from headrace.project.applied import Projects
    from headrace.project.service import Context
    from headrace_trainer.adapters.journal import Journal
    from headrace_trainer.adapters.retrying import retried
    from headrace_trainer.adapters.run import TrainingRun

    settings = Settings.load()
    journal = Journal(folder)
    log, topics = KafkaLog(settings), topics_of(settings)
    codec = Codec(topics)
    projects = Projects(log, codec, topics)
    health = Health("trainer", f"run-{folder.name}", failures={})
    context = Context(
        "trainer", f"run-{folder.name}", settings, log, topics, codec, projects, health, SystemClock(), asyncio.Event()
    )
    try:
        await retried(lambda: connect(log, settings.connect_timeout_s), journal.waiting)
        await retried(projects.start, journal.waiting)
        await projects.stop()
        await TrainingRun(context, journal.accepted, journal.emit, cache=read_folder(settings)).run()
    finally:
        await log.stop()


def main(folder: str, supervisor: str) -> int:
    """Train, and leave without waiting for threads that the user's code has begun. `supervisor`: its process id."""
    die_with(int(supervisor))
    from headrace.hosting.logs import set_up_logs
    from headrace.hosting.settings import Settings

    settings = Settings.load()
    set_up_logs("training", settings.log_level)
    limit(settings.training_memory_bytes, settings.training_cpu_s)
    asyncio.run(train(Path(folder)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2]))
