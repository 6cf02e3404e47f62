"""What the scores of each version mean: a view of `registry.models`."""

import asyncio

from headrace.asking.prediction import BINARY, OutputKind
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.registry import ModelVersion
from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.labels import are_plain

_UNUSABLE = ("rejected", "archived", "deleted")


class OutputKinds:
    """Kinds of output by deployment and version, always current."""

    def __init__(self, log: Log, codec: Codec, topics: Topics) -> None:
        self._kinds: dict[str, dict[int, OutputKind]] = {}
        self._usable: dict[str, set[int]] = {}
        self._view = View(log, codec, [topics.name("registry.models")], self._take)

    async def start(self) -> None:
        """Read what is registered now. Waits for the log."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the topic until `stop` is set."""
        await self._view.run(stop)

    async def stop(self) -> None:
        """Close the connection."""
        await self._view.stop()

    def versions(self, deployment: str) -> list[int]:
        """Registered versions that may be asked, ascending."""
        return sorted(self._usable.get(deployment, set()))

    def of(self, deployment: DeploymentDefinition, version: int | None = None) -> OutputKind:
        """What a version's scores mean; None for the prior's.

        The prior's kind is that of the label, or without a label that of the newest version.
        """
        label, known = deployment.label, self._kinds.get(deployment.name, {})
        found = known.get(version or 0)
        if found is None and label is not None:
            found = OutputKind(label.kind, label.classes)
        if found is None:
            found = known[max(known)] if known else OutputKind()
        return named_by(found, label)

    def _take(self, message: Message) -> None:
        found = message.event
        if not isinstance(found, ModelVersion):
            return
        registered = found.registered
        # NB: the kind of an unusable version is kept: its answers may be under way, or be requested again.
        kinds = self._kinds.setdefault(registered.deployment, {})
        kinds[registered.version] = OutputKind(registered.output, registered.classes)
        usable = self._usable.setdefault(registered.deployment, set())
        if found.stage in _UNUSABLE:
            usable.discard(registered.version)
        else:
            usable.add(registered.version)


def named_by(kind: OutputKind, label: LabelDefinition | None) -> OutputKind:
    """The same kind with the names of its classes: the version's names where it has any, else the label's."""
    is_plain = are_plain(kind.classes)
    wanted = label.classes if label is not None and label.kind == kind.kind else ()
    if is_plain and wanted and len(kind.classes) in (0, len(wanted)):
        return OutputKind(kind.kind, wanted)
    return OutputKind(kind.kind) if is_plain and kind.kind == BINARY else kind
