"""The applied projects, as every service sees them: a view of `project.definitions` that is always current.

A definition that breaks a rule, uses a name of another project, or cannot be read is left out and logged. All others
count.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from headrace.errors import Fatal, Misconfigured, Poison, Retryable
from headrace.events.definition import DeploymentDefinition, ProjectDefinition, SourceDefinition
from headrace.events.project import ProjectApplied
from headrace.instants import LATEST_S, why_not
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Log, Record
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.compile_streams import event_struct
from headrace.project.owners import accepted
from headrace.project.raised import one_line
from headrace.project.rules import broken

_log = logging.getLogger("headrace.projects")

# The number of refused definitions whose reason is kept. Beyond it the oldest reason is dropped.
MOST_BROKEN = 100
LEARN_WITHIN_S = 10.0


class _Definitions(Codec):
    """Reads definitions. One that cannot be read, or has an unknown type, becomes a message that holds the `Poison`.

    NB: no state is folded from definitions, since the newest readable one counts. So an unknown type is no reason to
    end. The topic is compacted: such a record would stay for ever, and end every service and command at each start.
    """

    def decode(self, record: Record) -> Message:
        try:
            return super().decode(record)
        except (Poison, Fatal) as error:
            return Message(record, Envelope("", "", "", 0.0), Poison(str(error)))


class Projects:
    """All applied projects by name. `refused`: the reasons of those that are left out, by project."""

    def __init__(self, log: Log, codec: Codec, topics: Topics) -> None:
        self.applied: dict[str, ProjectApplied] = {}
        self.refused: dict[str, str] = {}
        self._valid: dict[str, ProjectApplied] = {}
        self._broken: dict[str, str] = {}
        self._codec, self._topics = codec, topics
        self._view = View(log, _Definitions(topics), [topics.name("project.definitions")], self._take)
        self._listeners: list[Callable[[ProjectApplied], None]] = []

    async def start(self) -> None:
        """Read what is applied now. Waits for the log, and raises what `View.start` raises."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the topic until `stop` is set."""
        await self._view.run(stop)

    async def catch_up(self) -> None:
        """Wait, at most a second, until all that is applied by now is known here."""
        await self._view.catch_up()

    async def learn(self) -> None:
        """Wait until all that is applied by now is known here, for callers who would otherwise refuse a record for
        good.

        What is known here may be older than the record. Raises `Retryable` where the log does not answer within
        `LEARN_WITHIN_S`.
        """
        if self._view.is_ready and not self._view.is_stopped and not await self._view.catch_up(LEARN_WITHIN_S):
            raise Retryable(f"what is applied by now was not read within {LEARN_WITHIN_S:.0f} s")

    async def stop(self) -> None:
        """Close the connection."""
        await self._view.stop()

    async def wait(
        self, stop: asyncio.Event, has: Callable[["Projects"], bool] = lambda projects: bool(projects.applied)
    ) -> bool:
        """Wait until `has` holds (by default: a project is applied). Returns False when it was stopped before."""
        while not has(self) and not stop.is_set():
            await asyncio.sleep(0.1)
        return has(self)

    def listen(self, listener: Callable[[ProjectApplied], None]) -> None:
        """Call `listener` with every project that is applied from now on, in the loop's thread."""
        self._listeners.append(listener)

    @property
    def definitions(self) -> list[ProjectDefinition]:
        """All definitions, by project name."""
        return [self.applied[name].definition for name in sorted(self.applied)]

    @property
    def sources(self) -> list[SourceDefinition]:
        """All sources of all projects."""
        return [source for project in self.definitions for source in project.sources]

    def deployments(self) -> Iterator[tuple[ProjectDefinition, DeploymentDefinition]]:
        """Each deployment with the project that it belongs to."""
        for project in self.definitions:
            for deployment in project.deployments:
                yield project, deployment

    def deployment(self, name: str) -> tuple[ProjectDefinition, DeploymentDefinition] | None:
        """A deployment by name, with its project."""
        return next(((project, found) for project, found in self.deployments() if found.name == name), None)

    def declared(self, name: str) -> tuple[ProjectDefinition, DeploymentDefinition]:
        """The same. Raises `Misconfigured` for a deployment that no applied project declares, with those that are."""
        found = self.deployment(name)
        if found is None:
            known = ", ".join(sorted(deployment.name for _, deployment in self.deployments())) or "none"
            raise Misconfigured(f"no applied project declares {name!r} (declared: {known})")
        return found

    def project_of(self, deployment: str) -> ProjectApplied | None:
        """The applied project that declares a deployment."""
        return next(
            (a for a in self.applied.values() if any(d.name == deployment for d in a.definition.deployments)), None
        )

    def _take(self, message: Message) -> None:
        key = (message.record.key or b"").decode("utf-8", "replace")[:200]
        if message.event is None:  # deleted: its names are free
            self._broken.pop(key, None)
            if self._valid.pop(key, None) is not None:
                _log.warning("project %s is gone: its definition was deleted", key)
            self._settle()
            return
        wrong = _why_not(message.event, key)
        if wrong is not None:
            place = message.record.place
            _log.error("the definition of project %s (%s) is ignored: %s", key, place, wrong)
            self._broken.pop(key, None)
            self._broken[key] = wrong
            while len(self._broken) > MOST_BROKEN:
                self.refused.pop(oldest := next(iter(self._broken)), None)
                del self._broken[oldest]
            self.refused[key] = wrong
            return
        applied: ProjectApplied = message.event
        self._broken.pop(applied.name, None)
        self._valid[applied.name] = applied
        self._settle()

    def _settle(self) -> None:
        """Decide again which projects count, since the names of all of them decide, and call the listeners."""
        before = self.applied
        self.applied, taken = accepted(self._valid)
        for name, why in taken.items():
            if self.refused.get(name) != why:
                _log.error("the definition of project %s is ignored: %s", name, why)
        self.refused = {**taken, **self._broken}
        news = [found for name, found in self.applied.items() if before.get(name) is not found]
        gone = [found for name, found in before.items() if name not in self.applied]
        for found in news:
            self._codec.add_sources({self._topics.of_source(s.name): event_struct(s) for s in found.definition.sources})
        for found in [*news, *gone]:
            for listener in self._listeners:
                listener(found)


def _why_not(event: ProjectApplied | Poison, key: str) -> str | None:
    """Why a definition is refused; None when it is valid."""
    if isinstance(event, Poison):
        return event.reason
    if not event.name == event.definition.name == key:
        return f"its key is {key!r}, but its names are {event.name[:80]!r} and {event.definition.name[:80]!r}"
    # NB: an instant such as NaN or minus infinity would win every name, or none, depending on the order of reading.
    for name, time_s in (
        ("applied_at_s", event.applied_at_s),
        *(("claims", since_s) for since_s in event.claims.values()),
    ):
        late = why_not(time_s, int(LATEST_S * 1000), name)
        if late is not None:
            return late
    try:
        return next(broken(event.definition), None)
    except Exception as error:  # NB: foreign data; a rule that fails on it must not stop every service
        return f"its rules cannot be applied: {one_line(error)}"
