"""What the shard asks of the outside: functions that the application provides, or a test; and what others keep up to date."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from headrace.hosting.triage import Learn
from headrace_monitor.adapters.input_ends import Behind, Undecided
from headrace_monitor.adapters.window_evaluation import ComputeCustom, Reread
from headrace_monitor.core.held_rows import InMemory, Keep
from headrace_monitor.core.intake import SourcesToRead
from headrace_monitor.core.silences import Silences

ReadSources = Callable[[SourcesToRead], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outside:
    """Each function may block on the log, and raises `Retryable` while the log does not answer.

    `behind`: how many records of each input partition are not read yet. `undecided`: how many requests of each partition have
    no decision yet; None counts all as decided. `reread`: decisions from the log again; without it windows close without
    parity. `read_sources`: has other source topics read; without it they stay as they are. `sources_read`: the source topics
    that are read when the shard is made, sorted. `learn`: learns what is applied by now, before a record of something that
    nobody declares is taken; without it nothing is learnt. `progress`: called while a long step goes on, for the watchdog.
    `silences`: those that are set, kept up to date by a view. `runbook_url`: where the runbooks can be read, "" for nowhere. `keep`: where
    rows lie that wait for labels. `spilled`: how many bytes lie there, and their bound; None where these are in memory. `custom`: computes a project's own metrics, and blocks for that long; None computes none.
    """

    behind: Behind
    undecided: Undecided | None = None
    reread: Reread | None = None
    read_sources: ReadSources | None = None
    sources_read: Sequence[str] = ()
    learn: Learn | None = None
    progress: Callable[[], None] = lambda: None
    silences: Silences = field(default_factory=Silences)
    runbook_url: str = ""
    keep: Keep = InMemory
    spilled: Callable[[], tuple[int, int]] | None = None
    custom: ComputeCustom | None = None
