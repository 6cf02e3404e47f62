"""The topics that the shard reads, and how it has others read: by the host of its shards."""

from collections.abc import Mapping, Sequence

from headrace.hosting.group import ShardGroup
from headrace.log.port import Log, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.core.intake import SourcesToRead
from headrace_monitor.core.monitoring import TopicNames

_NOUNS = (
    "inference.decisions",
    "inference.outcomes",
    "inference.facts",
    "registry.facts",
    "registry.routes",
    "training.facts",
    "alerts.silences",
)
# Topics of which nothing is ever read again: what they changed is remembered, or counts only once.
READ_ONCE = ("registry.facts", "registry.routes", "inference.facts", "training.facts", "alerts.silences")


def names_of(topics: Topics) -> TopicNames:
    """The names of topics as the core needs them."""
    dead_letters = {topics.dlq(service): service for service in topics.services}
    return TopicNames(
        topics.name("inference.decisions"),
        topics.name("inference.outcomes"),
        topics.name("registry.facts"),
        topics.name("alerts.silences"),
        dead_letters,
        topics.of_source,
        topics.base,
    )


class Inputs:
    """The inputs of the one shard. `fixed`: the topics that are read whatever is declared."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self.fixed = [*map(topics.name, _NOUNS), *(topics.dlq(service) for service in topics.services)]
        self._host: ShardGroup | None = None

    def follow(self, host: ShardGroup) -> None:
        """The host that reads them; to be called once, before the shard is made."""
        self._host = host

    @property
    def host(self) -> ShardGroup:
        """The host. Raises `RuntimeError` before `follow`."""
        if self._host is None:
            raise RuntimeError("the inputs have no host yet: call follow() first")
        return self._host

    @property
    def sources_read(self) -> list[str]:
        """The source topics that are read now, sorted."""
        return sorted(topic for topic in self.host.inputs if topic not in self.fixed)

    async def behind(self) -> Mapping[TopicPartition, int]:
        """How many records of each partition are not read yet. Blocks on the log; raises `Retryable` while it is away."""
        return await self.host.behind()

    async def read_sources(self, plan: SourcesToRead) -> None:
        """Have these source topics read from now on, and some of them again. Blocks and raises as `behind` does.

        It is called within a step of the shard, which leaves alone what it has in hand of the topics that are read again.
        """
        partitions = [tp for topic in plan.anew for tp in await self._log.partitions(topic)]
        # NB: an event may be dated a little after it was appended, and long before.
        since_ms = int(max(plan.since_s, 0.0) * 1000)
        starts = await self._log.offsets_at(partitions, since_ms) if since_ms else dict.fromkeys(partitions, 0)
        await self.host.read_others([*self.fixed, *plan.topics], starts)

    def note_progress(self) -> None:
        """Work goes on: for the watchdog."""
        self.host.note_progress(0)


def read_once(topics: Topics) -> Sequence[str]:
    """The full names of `READ_ONCE`."""
    return [topics.name(noun) for noun in READ_ONCE]
