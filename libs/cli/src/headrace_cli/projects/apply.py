"""Applies a project: validates it, compares it with the applied one, creates its topics, and publishes it."""

import getpass
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.events.definition import (
    DeploymentDefinition,
    LabelDefinition,
    ProjectDefinition,
    ViewDefinition,
    digest_of,
)
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.project.applicable import warnings
from headrace.project.compile import compiled_of
from headrace.project.declare import Project
from headrace.project.faults import faults
from headrace.project.labels import are_its_answers
from headrace.project.lines import files_of, locate
from headrace.project.load import is_path, load_project, note_applied
from headrace.project.owners import claims_of, taken
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence
from headrace_cli.installation.local import Local
from headrace_cli.projects.expectations import Expectations, closed_windows, expected, plan_lines
from headrace_cli.projects.plan import plan_of, rate_warnings
from headrace_cli.session import Session

_MOST_SHOWN = 20
_PLACE = re.compile(r"(.+?):(\d+): ")


@dataclass(frozen=True)
class Checked:
    """A project that can work as it is declared, and the reference under which others import it."""

    definition: ProjectDefinition
    where: str

    def outlook(self, known: Mapping[str, Expectations] | None = None) -> list[dict[str, Any]]:
        """Per deployment its plan, and notes on settings that take effect late or never, with their lines. `known`: what its
        log says, by deployment.
        """
        return [self._outlook_of(found, (known or {}).get(found.name)) for found in self.definition.deployments]

    def _outlook_of(self, found: DeploymentDefinition, known: Expectations | None) -> dict[str, Any]:
        labels = known.labels_a_day if known is not None and found.label is not None else None
        late = [located(sentence, self.where) for sentence in warnings(found, self.definition)]
        late += [f"deployment {found.name}: {note}" for note in rate_warnings(found, labels)]
        late += [f"deployment {found.name}: {note}" for note in (known.notes if known is not None else ())]
        lines = [*plan_of(found, labels), *(plan_lines(known) if known is not None else ())]
        plan = [{"part": part, "text": text} for part, text in lines]
        return {"deployment": found.name, "plan": plan, "warnings": late}


def check_project(reference: str) -> Checked:
    """The project at `reference`. Raises `Misconfigured` with file and line of each fault; needs no broker."""
    project, where = load_project(with_folder(reference))
    return Checked(_compiled(project, where), where)


async def apply_project(session: Session, reference: str) -> dict[str, Any]:
    """Publish the project at `reference`; nothing is published if nothing has changed."""
    checked = check_project(reference)
    definition, where = checked.definition, checked.where
    applied = session.projects.applied.get(definition.name)
    if refused := taken(definition, session.projects.applied.values()):
        raise Misconfigured(f"project {definition.name}: {refused}")
    changes = differences(applied.definition if applied else None, definition)
    note_applied(_applied_file(), definition.name, where)
    made = await ensure_topics(session.log, session.topics.specs(definition))
    if changes or applied is None or applied.reference != where:
        event = ProjectApplied(
            definition.name,
            digest_of(definition),
            where,
            definition,
            session.clock.now_s(),
            getpass.getuser(),
            version("headrace"),
            claims_of(definition, applied, session.clock.now_s()),
        )
        await session.send("project.definitions", definition.name, event, f"apply-{secrets.token_hex(8)}")
    known = await _known(session, definition, applied) if changes else {}
    deployments = checked.outlook(known)
    return {
        "project": definition.name,
        "digest": digest_of(definition),
        "changes": changes,
        "topics_created": made,
        "deployments": deployments,
    }


async def _known(
    session: Session, definition: ProjectDefinition, applied: ProjectApplied | None
) -> dict[str, Expectations]:
    """What the log says of the deployments that were applied before; the others have no traffic."""
    windows = await closed_windows(session)
    before = {window.deployment for window in windows}
    before |= {found.name for found in applied.definition.deployments} if applied is not None else set()
    mine = [found for found in definition.deployments if found.name in before]
    return {found.name: await expected(session, found, windows, found.rollout.policy) for found in mine}


def with_folder(reference: str) -> str:
    """`module:attribute` of a module in this folder, with the folder added, because services do not search the current folder."""
    module, is_module, _ = reference.partition(":")
    if not is_module or is_path(module) or "!" in module or os.path.exists(reference):
        return reference
    here, top = os.getcwd(), module.partition(".")[0]
    places = [place for place in sys.path if place and os.path.abspath(place) != here]
    is_installed = PathFinder.find_spec(top, places) is not None
    return reference if is_installed or PathFinder.find_spec(top, [here]) is None else f"{here}!{reference}"


def _applied_file() -> Path:
    """The file from which pipeline and trainer on this machine read what was applied here."""
    return Path(os.environ.get("HEADRACE_APPLIED_FILE") or Local.here().home / "applied.json")


def _compiled(project: Project, where: str) -> ProjectDefinition:
    """The definition. Raises `Misconfigured` with the line of every fault."""
    if found := faults(project):
        raise Misconfigured(_faults_text(project, found, where))
    return compiled_of(project)


def _faults_text(project: Project, found: Sequence[Sentence], where: str) -> str:
    """One fault as it is; several with a line each, in the order of the files."""
    files = _files(where)
    lines = sorted((_located(sentence, files) for sentence in found[:_MOST_SHOWN]), key=_as_written)
    if len(found) == 1:
        return lines[0]
    more = [f"and {len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
    return "\n  ".join([f"{named('project', str(project.name))} has {len(found)} faults:", *lines, *more])


def _as_written(line: str) -> tuple[str, int]:
    """The sort key: by file, then by line; faults without a place come last."""
    place = _PLACE.match(line)
    return ("\uffff", 0) if place is None else (place[1], int(place[2]))


def located(sentence: str, where: str) -> str:
    """A sentence about a declaration, preceded by the line to change if that is found."""
    return _located(sentence, _files(where))


def _files(where: str) -> list[Path]:
    return files_of(where.rpartition("!")[2].partition(":")[0])


def _located(sentence: str, files: Sequence[Path]) -> str:
    line = locate(sentence, files)
    return f"{line}: {sentence}" if line else str(sentence)


def differences(before: ProjectDefinition | None, after: ProjectDefinition) -> list[str]:
    """The changes, one line each: added, removed or altered parts by their names."""
    lines: list[str] = []
    for group in ("raw", "references", "sources", "views", "pipelines", "deployments"):
        old = {part.name: part for part in getattr(before, group, ())}
        new = {part.name: part for part in getattr(after, group)}
        noun = {"raw": "raw stream"}.get(group, group.removesuffix("s"))
        lines += [f"+ {noun} {name}" for name in new if name not in old]
        lines += [f"- {noun} {name}" for name in old if name not in new]
        lines += [
            f"~ {noun} {name}{_altered(old[name], new[name])}" for name in new if name in old and old[name] != new[name]
        ]
    return lines


def _altered(old: msgspec.Struct, new: msgspec.Struct) -> str:
    """Which arguments of a part have changed, with a consequence that is not obvious."""
    names = [field.removesuffix("_s") for field in new.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    made = ("digest", "key") if isinstance(new, ViewDefinition) else ("digest",)
    changed = ", ".join(name for name in names if name not in made)
    is_deployment = isinstance(old, DeploymentDefinition) and isinstance(new, DeploymentDefinition)
    label = _altered_label(old.label, new.label) if is_deployment else ""
    return f": {changed}{label}" if changed else ""


def _altered_label(old: LabelDefinition | None, new: LabelDefinition | None) -> str:
    if old is None or new is None or are_its_answers(new.kind, new.classes, old.kind, old.classes):
        return ""
    return " (versions for the former label are skipped; earlier outcomes are read as labels of the new kind)"
