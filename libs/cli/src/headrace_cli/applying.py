"""Applying a project: validate, compare with what is applied, make its topics, publish."""

import getpass
import os
import secrets
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrace.bus.admin import ensure_topics
from headrace.errors import Misconfigured
from headrace.events.project import ProjectApplied
from headrace.project.compile import compile_project, digest
from headrace.project.declare import Project
from headrace.project.definition import ProjectDefinition
from headrace.project.lines import files_of, locate
from headrace.project.load import load_project, note_applied
from headrace.project.owners import claims_of, taken
from headrace_cli.local import Local
from headrace_cli.session import Session


async def apply_project(session: Session, reference: str) -> dict[str, Any]:
    """Publish the project found at `reference`; nothing is published when nothing changed."""
    project, where = load_project(with_folder(reference))
    definition = _compiled(project, where)
    applied = session.projects.applied.get(definition.name)
    if refused := taken(definition, session.projects.applied.values()):
        raise Misconfigured(f"project {definition.name}: {refused}")
    changes = differences(applied.definition if applied else None, definition)
    note_applied(_applied_file(), definition.name, where)
    made = await ensure_topics(session.log, session.topics.specs(definition))
    if changes or applied is None or applied.reference != where:
        event = ProjectApplied(
            definition.name,
            digest(definition),
            where,
            definition,
            session.clock.now_s(),
            getpass.getuser(),
            version("headrace"),
            claims_of(definition, applied, session.clock.now_s()),
        )
        await session.send("project.definitions", definition.name, event, f"apply-{secrets.token_hex(8)}")
    return {"project": definition.name, "digest": digest(definition), "changes": changes, "topics_created": made}


def with_folder(reference: str) -> str:
    """`module:attribute` of a module that lies in this folder, with the folder: no process of ours looks where it stands."""
    module, is_module, _ = reference.partition(":")
    if not is_module or "!" in module or os.path.exists(reference):
        return reference
    here, top = os.getcwd(), module.partition(".")[0]
    places = [place for place in sys.path if place and os.path.abspath(place) != here]
    is_installed = PathFinder.find_spec(top, places) is not None
    return reference if is_installed or PathFinder.find_spec(top, [here]) is None else f"{here}!{reference}"


def _applied_file() -> Path:
    """Where pipeline and trainer of this machine learn what was applied here."""
    return Path(os.environ.get("HEADRACE_APPLIED_FILE") or Local.here().home / "applied.json")


def _compiled(project: Project, where: str) -> ProjectDefinition:
    """The definition; a refusal names the line to change."""
    try:
        return compile_project(project)
    except Misconfigured as refusal:
        module = where.rpartition("!")[2].partition(":")[0]
        line = locate(str(refusal), files_of(module))
        raise Misconfigured(f"{line}: {refusal}" if line else str(refusal)) from None


def differences(before: ProjectDefinition | None, after: ProjectDefinition) -> list[str]:
    """What changes, a line each: added, removed, or altered parts by their names."""
    lines: list[str] = []
    for group in ("raw", "references", "sources", "views", "pipelines", "deployments"):
        old = {part.name: part for part in getattr(before, group, ())}
        new = {part.name: part for part in getattr(after, group)}
        noun = {"raw": "raw stream"}.get(group, group.removesuffix("s"))
        lines += [f"+ {noun} {name}" for name in new if name not in old]
        lines += [f"- {noun} {name}" for name in old if name not in new]
        lines += [f"~ {noun} {name}" for name in new if name in old and old[name] != new[name]]
    return lines
