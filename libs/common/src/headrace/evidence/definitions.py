"""The definitions of projects as they were: `project.definitions` keeps the newest of each, and older ones until
compaction removes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.project import ProjectApplied
from headrace.events.registry import Signature
from headrace.features.rows import bare_signature
from headrace.log.codec import Codec, Message
from headrace.log.port import Log, Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.topics import Topics


@dataclass(frozen=True)
class Then:
    """A deployment as it was defined. `is_certain`: False where that of the time is gone, and a later one is taken."""

    project: ProjectDefinition
    deployment: DeploymentDefinition
    is_certain: bool = True

    @cached_property
    def bare(self) -> Signature:
        """The signature of its rows before any version."""
        return bare_signature(self.project, self.deployment)


class Definitions:
    """Every definition that is still on the log, in order."""

    def __init__(self, messages: list[Message]) -> None:
        self._applied = [m for m in messages if isinstance(m.event, ProjectApplied)]
        self._made: dict[tuple[int, str, bool], Then] = {}

    @staticmethod
    async def read(log: Log, codec: Codec, topics: Topics) -> "Definitions":
        """Read them. A record that cannot be read is left out, as services do."""
        found: list[Message] = []

        def take(record: Record) -> None:
            try:
                found.append(codec.decode(record))
            except Exception:  # NB: foreign data; services ignore such a definition too
                return

        await read_up_to(log, await pin_offsets(log, [topics.name("project.definitions")]), take)
        return Definitions(found)

    def at(self, deployment: str, written_ms: int, fits: Callable[[Then], bool] = lambda then: True) -> Then | None:
        """A deployment as it was defined when a decision was written; None where none ever was.

        `fits`: whether a definition can be the one that was followed: a service learns of a new one a little later than
        it is written. Where none fits, it is the newest of that time.
        """
        newest: Then | None = None
        later: Then | None = None
        for message in reversed(self._applied):
            is_certain = message.record.timestamp_ms <= written_ms
            then = self._then(message, deployment, is_certain)
            if then is None:
                continue
            if not is_certain:
                later = then
            elif fits(then):
                return then
            else:
                newest = newest or then
        return newest or later

    def _then(self, message: Message, deployment: str, is_certain: bool) -> Then | None:
        key = (message.record.offset, deployment, is_certain)
        if key not in self._made:
            project = message.event.definition
            mine = next((found for found in project.deployments if found.name == deployment), None)
            if mine is None:
                return None
            self._made[key] = Then(project, mine, is_certain)
        return self._made[key]
