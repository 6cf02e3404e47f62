"""The newest routes and versions of the registry, followed on compacted topics, and kept when the registry is away."""

from collections.abc import Iterable

from headrace.events.registry import ModelVersion, Route, VersionRegistered
from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace_inference.core.batch import Name


class RegistryView:
    """Routes by deployment with the offset of their record, and versions by (deployment, version).

    All of them are kept, as on their topics, for a route may come to name any. `bytes`: what the versions take, as they were written.
    """

    def __init__(self, log: Log, codec: Codec, topics: Topics) -> None:
        self.versions: dict[Name, VersionRegistered] = {}
        self._routes: dict[str, tuple[Route, int]] = {}
        self._keys: dict[bytes | None, Name] = {}
        self._sizes: dict[bytes | None, int] = {}
        self.bytes = 0
        names = [topics.name("registry.models"), topics.name("registry.routes")]
        self.view = View(log, codec, names, self.take)

    @property
    def routes(self) -> Iterable[Route]:
        """All routes."""
        return [route for route, _ in self._routes.values()]

    def route(self, deployment: str) -> tuple[Route | None, int]:
        """A deployment's route and the offset of its record; (None, -1) when there is none."""
        return self._routes.get(deployment, (None, -1))

    def take(self, message: Message) -> None:
        """Fold one record; a tombstone deletes."""
        match message.event:
            case Route() as route:
                self._routes[route.deployment] = (route, message.record.offset)
            case ModelVersion(registered=registered):
                name = (registered.deployment, registered.version)
                self.versions[name], self._keys[message.record.key] = registered, name
                self._note_size(message.record.key, len(message.record.value or b""))
            case None:
                self._forget(message.record.key)

    def _forget(self, key: bytes | None) -> None:
        self._routes.pop((key or b"").decode(), None)
        self.versions.pop(self._keys.pop(key, ("", 0)), None)
        self._note_size(key, 0)

    def _note_size(self, key: bytes | None, size: int) -> None:
        self.bytes += size - self._sizes.pop(key, 0)
        if size:
            self._sizes[key] = size
