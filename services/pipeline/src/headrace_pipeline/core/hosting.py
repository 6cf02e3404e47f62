"""Which projects' pipelines are hosted, and when the process must begin anew.

Everything that is hosted is wired once, at the start. So whatever changes it (a project, more partitions of a raw topic, a stopped partition
that an operator resumes, threads that cannot be ended) is a reason to restart the process.
"""

from collections.abc import Iterable, Mapping

from headrace.events.project import ProjectApplied
from headrace_pipeline.core.lookback import Place
from headrace_pipeline.settings import MOST_HUNG


def hosted(applied: Mapping[str, ProjectApplied]) -> dict[str, str]:
    """The digest of each project that has pipelines, by its name."""
    return {name: found.digest for name, found in applied.items() if found.definition.pipelines}


def is_changed(running: Mapping[str, str], applied: ProjectApplied) -> bool:
    """Whether a project is not the one that is hosted (see `hosted`): a new one, another one, or one that lost its pipelines."""
    was_running = applied.name in running
    return (bool(applied.definition.pipelines) or was_running) and running.get(applied.name) != applied.digest


def why_restart(resumed: Iterable[Place], hung_count: int) -> str | None:
    """Why the process must begin anew; None when it need not.

    `resumed`: partitions whose records were kept back here, and that an operator lets go on. `hung_count`: threads that cannot be ended.

    >>> why_restart([("raw.a.v1", 0)], 0)
    'raw.a.v1/0 goes on: restarting, to read it from there'
    """
    for topic, partition in resumed:
        return f"{topic}/{partition} goes on: restarting, to read it from there"
    if hung_count >= MOST_HUNG:
        return f"{hung_count} transforms hang on threads that cannot be ended: restarting"
    return None
