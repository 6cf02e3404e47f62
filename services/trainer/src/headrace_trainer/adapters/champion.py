"""The present champion, from the registry's current state, to compare with on the same rows."""

from headrace.bus import artifacts
from headrace.bus.port import Log
from headrace.bus.views import read_all
from headrace.codec import Codec
from headrace.errors import Poison
from headrace.events.registry import ModelVersion, VersionRegistered
from headrace.models.engine import Engine, load
from headrace.project.labels import CLASSES
from headrace.topics import Topics
from headrace_trainer.core.target import Target


async def load_champion(
    log: Log, codec: Codec, topics: Topics, deployment: str, target: Target
) -> tuple[VersionRegistered, Engine] | None:
    """The champion's registration and its engine; None when there is none, or it cannot be loaded or asked for what is trained."""
    current: dict[bytes, ModelVersion] = {}
    for message in await read_all(log, codec, [topics.name("registry.models")]):
        current[message.record.key or b""] = message.event
    found = next(
        (
            m.registered
            for m in current.values()
            if m and "champion" in m.aliases and m.registered.deployment == deployment
        ),
        None,
    )
    if found is None or not _answers(found, target) or found.signature.frame or not found.signature.views_digest:
        return None
    try:
        return found, load(await artifacts.fetch(log, topics, found.place), found.place.format)
    except Poison:
        return None


def _answers(registered: VersionRegistered, target: Target) -> bool:
    """Whether its scores are of the same kind, and of as many classes."""
    is_sized = registered.output != CLASSES or len(registered.classes) in (0, len(target.classes))
    return registered.output == target.kind and is_sized
