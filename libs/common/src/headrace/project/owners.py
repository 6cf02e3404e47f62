"""Who owns a name: a deployment, view, source, raw stream or reference belongs to the project that declared it first.

`apply` refuses to declare another project's name. A definition that came onto the topic in another way is judged by the
same rule everywhere: the later definition is left out as a whole. The time of each first declaration is part of the
definition, because the topic is compacted and its order is not that of the first declarations.
"""

from collections.abc import Iterable, Mapping

from headrace.events.definition import ProjectDefinition
from headrace.events.project import ProjectApplied
from headrace.project.rules import WITH_TOPICS, names_of


def claims_of(definition: ProjectDefinition, before: ProjectApplied | None, now_s: float) -> dict[str, float]:
    """When a project that is applied at `now_s` first declared each of its names, in seconds since the epoch."""
    known = {} if before is None else _claims(before)
    return {name: known.get(name, now_s) for name in _names(definition)}


def taken(definition: ProjectDefinition, others: Iterable[ProjectApplied]) -> str | None:
    """Why a project may not be declared: the first name that another project owns, and which; None when all are
    free.
    """
    wanted = {_as_topic(name): name for name in _names(definition)}
    for other in others:
        if other.name == definition.name:
            continue
        for name in _names(other.definition):
            mine = wanted.get(_as_topic(name))
            if mine is not None:
                return _taken_message(name, other.name) if mine == name else _alike_message(mine, name, other.name)
    return None


def accepted(applied: Mapping[str, ProjectApplied]) -> tuple[dict[str, ProjectApplied], dict[str, str]]:
    """The projects that own all their names, and why the others are left out, by project."""
    owners: dict[str, tuple[float, str]] = {}
    for project in applied.values():
        for name, since_s in _claims(project).items():
            owners[name] = min(owners.get(name, (since_s, project.name)), (since_s, project.name))
    refused: dict[str, str] = {}
    for project in applied.values():
        for name in _names(project.definition):
            if owners[name][1] != project.name:
                refused.setdefault(project.name, _taken_message(name, owners[name][1]))
    return {name: found for name, found in applied.items() if name not in refused}, refused


def _claims(project: ProjectApplied) -> dict[str, float]:
    """NB: a project cannot have declared a name after it was last applied."""
    at_s = project.applied_at_s
    return {name: min(project.claims.get(name, at_s), at_s) for name in _names(project.definition)}


def _names(definition: ProjectDefinition) -> list[str]:
    return [f"{kind}/{name}" for kind, name in names_of(definition)]


def _as_topic(name: str) -> str:
    """A name as Kafka compares topics: `.` and `_` are the same."""
    return name.replace(".", "_") if name.partition("/")[0] in WITH_TOPICS else name


def _alike_message(mine: str, name: str, owner: str) -> str:
    alike = f"{name.replace('/', ' ')} of project {owner}"
    return f"{mine.replace('/', ' ')} would have a topic that Kafka cannot distinguish from that of {alike}: choose another name"


def _taken_message(name: str, owner: str) -> str:
    kind, _, plain = name.partition("/")
    way = name if " " not in name else f"'{name}'"
    return (
        f"{kind} {plain} belongs to project {owner}, which declared it first: choose another name,"
        f" or free it (`headrace project release {owner} --only {way}`)"
    )
