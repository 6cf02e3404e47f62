"""The records that the registry writes: facts, the current state of versions and routes, waits that ran out, and deletions of artifacts."""

from collections.abc import Iterable
from typing import Any

from headrace.clock import Clock
from headrace.events.registry import ArtifactPlace, TimedOut
from headrace.log.codec import Message, caused_by, out, tombstone
from headrace.log.envelope import Envelope
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.registry.state import Entry
from headrace_registry.core.publication import changed_route, changed_versions, route_id, version_id

SERVICE = "registry"


class Records:
    """Every record names its cause and carries the cause's instant; without one it carries that of the clock."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics, self._clock = topics, clock

    def fact(self, fact: Any, ident: str, cause: Message | None) -> Out:
        """A fact under its id."""
        return out(self._topics.name("registry.facts"), fact.deployment, fact, self._envelope(cause, ident))

    def current(
        self, deployment: str, before: Entry, after: Entry, facts: tuple[Any, ...], cause: Message | None
    ) -> list[Out]:
        """The current state of the versions and the route that these facts have changed."""
        models, routes = self._topics.name("registry.models"), self._topics.name("registry.routes")
        outs = []
        for version, found in changed_versions(before, after).items():
            envelope = self._envelope(cause, version_id(deployment, version, after))
            outs.append(out(models, f"{deployment}/{version}", found, envelope))
        route = changed_route(after, facts)
        if route is not None:
            outs.append(out(routes, deployment, route, self._envelope(cause, route_id(deployment, route))))
        return outs

    def timed_out(self, event: TimedOut, ident: str, cause: Message | None) -> Out:
        """A wait that ran out, as a message to the registry itself."""
        return out(self._topics.name("registry.commands"), event.deployment, event, self._envelope(cause, ident))

    def deleted(self, places: Iterable[ArtifactPlace], cause: Message) -> list[Out]:
        """Tombstones of artifacts: manifest first, so that a reader never finds a manifest without its chunks."""
        topic = self._topics.name("registry.artifacts")
        return [
            tombstone(topic, f"{place.digest}/{part}", self._envelope(cause, ""), place.partition)
            for place in places
            for part in ["manifest", *map(str, range(place.chunk_count))]
        ]

    def _envelope(self, cause: Message | None, ident: str) -> Envelope:
        time_s = cause.envelope.time_s if cause is not None else self._clock.now_s()
        return caused_by(cause, id=ident, source=SERVICE, time_s=time_s)
