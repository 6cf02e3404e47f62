"""Frees names: a project is deleted, or some of its parts are removed from its definition.

A name belongs to the project that declared it first, as long as its definition is on `project.definitions`. A user who no longer
has the code to apply frees it here. Topics and their records stay.
"""

import getpass
import secrets
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.project import ProjectApplied
from headrace.log.codec import tombstone
from headrace.log.envelope import Envelope
from headrace.project.applied import Projects
from headrace.project.owners import claims_of
from headrace.project.rules import broken, names_of
from headrace_cli.session import Session

_GROUPS = {
    "raw stream": "raw",
    "reference": "references",
    "source": "sources",
    "view": "views",
    "pipeline": "pipelines",
    "deployment": "deployments",
}


async def release(session: Session, name: str, only: Sequence[str]) -> dict[str, Any]:
    """Free all names of a project, or those of some parts (`kind/name`) of it. Returns the freed names."""
    applied = _found(session.projects, name)
    if not only:
        await _delete(session, name)
        freed = [] if applied is None else [f"{kind}/{part}" for kind, part in names_of(applied.definition)]
        return {"project": name, "freed": freed, "deleted": True}
    if applied is None:
        raise Misconfigured(f"project {name} is ignored, so none of its parts can be kept: leave out --only")
    definition = without(applied.definition, only)
    now_s = session.clock.now_s()
    event = ProjectApplied(
        name,
        digest_of(definition),
        applied.reference,
        definition,
        now_s,
        getpass.getuser(),
        version("headrace"),
        claims_of(definition, applied, now_s),
    )
    await session.send("project.definitions", name, event, f"release-{secrets.token_hex(8)}")
    return {"project": name, "freed": list(dict.fromkeys(only)), "deleted": False}


def without(definition: ProjectDefinition, only: Sequence[str]) -> ProjectDefinition:
    """The definition without some parts (`kind/name`). Raises `Misconfigured` if a part does not exist, or if a remaining part needs it."""
    for part in dict.fromkeys(only):
        kind, _, name = part.partition("/")
        group = _GROUPS.get(kind)
        parts = getattr(definition, group, ()) if group else ()
        kept = tuple(part for part in parts if part.name != name)
        if len(kept) == len(parts):
            known = ", ".join(f"{kind}/{name}" for kind, name in _parts(definition)) or "nothing"
            raise Misconfigured(f"project {definition.name} declares no {part[:200]!r}; it declares {known}")
        definition = msgspec.structs.replace(definition, **{str(group): kept})
    if (wrong := next(broken(definition), None)) is not None:
        raise Misconfigured(f"another part of project {definition.name} needs it ({wrong}): free that as well")
    return definition


def _parts(definition: ProjectDefinition) -> list[tuple[str, str]]:
    return [(kind, part.name) for kind, group in _GROUPS.items() for part in getattr(definition, group)]


def _found(projects: Projects, name: str) -> ProjectApplied | None:
    """The applied project; None for one whose definition is ignored. Raises `Misconfigured` if there is none, and names the owner of a part."""
    if name in projects.applied or name in projects.refused:
        return projects.applied.get(name)
    for project in projects.definitions:
        for kind, part in _parts(project):
            if part == name:
                raise Misconfigured(
                    f"no project is called {name!r}, but a {kind} of project {project.name}:"
                    f" `headrace project release {project.name} --only '{kind}/{name}'`"
                )
    known = ", ".join(sorted({*projects.applied, *projects.refused})) or "none"
    raise Misconfigured(f"no project is called {name[:200]!r} (applied: {known})")


async def _delete(session: Session, name: str) -> None:
    ident = f"release-{secrets.token_hex(8)}"
    envelope = Envelope(ident, "project.applied", "cli", session.clock.now_s(), correlation_id=ident)
    producer = await session.log.producer()
    try:
        await producer.send([tombstone(session.topics.name("project.definitions"), name, envelope)])
    finally:
        await producer.close()
