"""Rules of a project as a whole: it is well typed and small enough, and declares each name once."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Sentence, at

_ARGUMENTS = {
    "raw stream": "raw",
    "reference": "references",
    "source": "sources",
    "view": "views",
    "pipeline": "pipelines",
    "deployment": "deployments",
}

# Declarations with a topic of their own.
WITH_TOPICS = ("raw stream", "reference", "source")


def names_of(project: d.ProjectDefinition) -> Iterator[tuple[str, str]]:
    """What a project owns by declaring it first, as (kind, name). No other project may declare the same."""
    for kind, group in groups(project):
        if kind != "pipeline":
            yield from ((kind, found.name) for found in group)


def groups(project: d.ProjectDefinition) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """All that a project declares, by kind."""
    return (
        ("raw stream", project.raw),
        ("reference", project.references),
        ("source", project.sources),
        ("view", project.views),
        ("pipeline", project.pipelines),
        ("deployment", project.deployments),
    )


def wrong_type(project: d.ProjectDefinition) -> str | None:
    """Why a definition could not be read back; None when it can. Structs are not validated when they are made."""
    try:
        written = msgspec.msgpack.encode(project)
        if len(written) > bounds.MOST_BYTES:
            return f"project {project.name!r:.90}: its definition has {len(written):,} bytes, at most {bounds.MOST_BYTES:,} fit"
        msgspec.msgpack.decode(written, type=d.ProjectDefinition)
    except UnicodeEncodeError as error:
        return f"project {project.name!r:.90}: a text holds half of a surrogate pair, {error.object[:80]!r}, which cannot be encoded"
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"project {project.name!r:.90}: {_named_place(project, str(error))}"
    return None


def _named_place(project: d.ProjectDefinition, error: str) -> str:
    """Replaces the place in a message of msgspec, `... at $.deployments[0].inputs[0].low`, by names."""
    found = re.search(r"`\$\.(\w+)\[(\d+)\]\.?([^`]*)`", error)
    if found is None:
        return error
    try:
        part = getattr(project, found[1])[int(found[2])].name
    except (AttributeError, IndexError, TypeError):
        return error
    kind = {"raw": "raw stream"}.get(found[1], found[1].removesuffix("s"))
    return f"{kind} {part!r:.90}: {found[3] or 'it'}: {error.partition(' - at ')[0]}"


def sizes(project: d.ProjectDefinition) -> Iterator[str]:
    """The number of declarations of each kind."""
    for kind, group in groups(project):
        if len(group) > bounds.MOST_PARTS:
            yield f"{bounds.named('project', project.name)}: it has {len(group)} {kind}s, at most {bounds.MOST_PARTS} are allowed"


def names(project: d.ProjectDefinition, kind: str, group: Iterable[Any]) -> Iterator[str]:
    """Each name is valid and unique, and two topics of one kind differ in more than `.` and `_`.

    NB: Kafka refuses such a pair when the second topic is created, since its metrics write both characters as `_`.
    """
    seen: set[str] = set()
    topics: dict[str, str] = {}
    for found in group:
        yield from at(("name",), bounds.name(kind, found.name))
        if found.name in seen:
            problem = f"{found.name!r} is declared twice; give each its own name"
            yield Sentence(f"{bounds.named('project', project.name)}: {problem}", (_ARGUMENTS[kind],))
        seen.add(found.name)
        like = topics.setdefault(found.name.replace(".", "_"), found.name)
        if kind in WITH_TOPICS and like != found.name:
            yield (
                f"{bounds.named(kind, found.name)}: its topic would differ from that of {like!r} in `.` and `_` alone,"
                " which Kafka refuses; give it another name"
            )
