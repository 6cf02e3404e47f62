"""All faults of a project that can be found independently of each other.

A declaration is checked in four steps: its arguments have their types, it compiles, it keeps the rules, it can work.
One that fails a step is not checked further, and neither is one that refers to it, since those faults would only
follow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.applicable import deployment_refusals, stream_refusals
from headrace.project.applicable.builds import build_refusals
from headrace.project.applicable.metrics import function_refusals
from headrace.project.compile import (
    compile_deployment,
    compile_pipeline,
    compile_source,
    compile_view,
    compiled_of,
    translated,
)
from headrace.project.declare import Project
from headrace.project.declared import is_well_typed, wrong_arguments
from headrace.project.deployments import Deployment
from headrace.project.pipelines import OutcomesOf, Pipeline
from headrace.project.rules import broken, deployment_rules
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence
from headrace.project.sources import RawStream, Reference, Source
from headrace.project.views import FeatureView

_GROUPS: Mapping[str, type[Any]] = {
    "raw": RawStream,
    "references": Reference,
    "sources": Source,
    "views": FeatureView,
    "pipelines": Pipeline,
    "deployments": Deployment,
}
# The parts whose compilation can fail: what a message calls them, and how they are compiled.
_COMPILED: Mapping[type[Any], tuple[str, Callable[[Any], object]]] = {
    Source: ("source", compile_source),
    FeatureView: ("view", compile_view),
    Pipeline: ("pipeline", compile_pipeline),
    Deployment: ("deployment", compile_deployment),
}


def applicable(project: Project) -> d.ProjectDefinition:
    """The definition of a project that can work as it is declared. Raises `Misconfigured` with the first fault."""
    for sentence in faults(project):
        raise Misconfigured(sentence)
    return compiled_of(project)


def faults(project: Project) -> list[Sentence]:
    """All faults of a project, one sentence each and without repeats; [] for a project that can be applied.

    >>> from headrace.project import Deployment, Number
    >>> faults(Project("p", [Deployment("late", "", [Number("x", 2, 1)])]))
    ['deployment late: unit must have 1 to 200 characters, got 0', 'deployment late: x must lie in low..high, got low 2 above high 1']
    """
    found = list(wrong_arguments(project))
    is_readable = isinstance(project.name, str) and all(_is_list(getattr(project, group)) for group in _GROUPS)
    if is_readable:
        found += _of(_closed(project, is_well_typed))
    return list(dict.fromkeys(found))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _of(project: Project) -> Iterator[Sentence]:
    """The faults of a project whose declarations have their types."""
    # NB: a view of a source that does not compile would repeat the fault of its source.
    wrong: dict[int, Sentence] = {}
    for part in (part for group in _GROUPS for part in getattr(project, group)):
        if _refers_to(part, lambda other: id(other) not in wrong) and (fault := _why_not_compiled(part)) is not None:
            wrong[id(part)] = fault
    yield from wrong.values()
    whole = _closed(project, lambda part: id(part) not in wrong)
    yield from _of_definition(compiled_of(whole))
    yield from build_refusals(whole)
    yield from function_refusals(whole)


def _of_definition(compiled: d.ProjectDefinition) -> Iterator[Sentence]:
    sentences = [found if isinstance(found, Sentence) else Sentence(found) for found in broken(compiled)]
    yield from sentences
    for found in compiled.deployments:
        if not sentences or not any(deployment_rules(compiled, found)):
            yield from deployment_refusals(compiled, found)
    yield from stream_refusals(compiled)


def _why_not_compiled(part: Any) -> Sentence | None:
    kind, compile_part = _COMPILED.get(type(part), ("", None))
    if compile_part is None:
        return None
    try:
        with translated(named(kind, part.name)):
            compile_part(part)
    except Misconfigured as error:
        fault = error.args[0]
        return fault if isinstance(fault, Sentence) else Sentence(fault)
    return None


def _closed(project: Project, is_sound: Callable[[Any], bool]) -> Project:
    """The project with those parts only that are sound and refer to sound parts."""

    def kept(group: str) -> list[Any]:
        parts = [part for part in getattr(project, group) if type(part) is _GROUPS[group]]
        return [part for part in parts if is_sound(part) and _refers_to(part, is_sound)]

    groups = {group: kept(group) for group in _GROUPS}
    known = {found.name for found in groups["deployments"]}
    gone = {getattr(found, "name", None) for found in project.deployments} - known
    groups["pipelines"] = [found for found in groups["pipelines"] if not gone & _outcomes(found)]
    return replace(project, **groups)


def _refers_to(part: Any, is_sound: Callable[[Any], bool]) -> bool:
    """Whether all that a part refers to is sound."""
    match part:
        case FeatureView():
            return is_sound(part.source)
        case Pipeline():
            sources = [target for target in part.to if not isinstance(target, OutcomesOf)]
            return all(map(is_sound, (part.raw, *sources, *part.enrich)))
        case Deployment():
            views = [binding.view for binding in part.features]
            return all(is_sound(view) and _refers_to(view, is_sound) for view in views)
    return True


def _outcomes(found: Pipeline) -> set[str]:
    return {target.deployment for target in found.to if isinstance(target, OutcomesOf)}
