"""Compiles the user's declarations to a definition. Wrong declarations are refused with the way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.compile_deployments import compile_deployment, reference_of
from headrace.project.compile_streams import compile_source, compile_view
from headrace.project.declare import Project
from headrace.project.declared import wrong_arguments
from headrace.project.pipelines import OutcomesOf, Pipeline
from headrace.project.raised import one_line
from headrace.project.rules import check, named
from headrace.project.sources import Source

__all__ = [
    "compile_deployment",
    "compile_pipeline",
    "compile_project",
    "compile_source",
    "compile_view",
    "compiled_of",
    "translated",
]


def compile_project(project: Project) -> d.ProjectDefinition:
    """The definition of a declared project. Raises `Misconfigured`, which names the declaration and the way out."""
    for sentence in wrong_arguments(project):
        raise Misconfigured(sentence)
    with translated(named("project", str(getattr(project, "name", project))[:80])):
        compiled = compiled_of(project)
    check(compiled)
    return compiled


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translates Python's errors on a declaration into `Misconfigured`. `what`: how the message begins.

    NB: a declaration may hold values that its types do not show; they fail here.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        problem = f"a text holds half of a surrogate pair, {error.object[:80]!r}, which cannot be encoded"
        raise Misconfigured(f"{what}: {problem}") from error
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise Misconfigured(f"{what}: a declaration has a wrong type: {one_line(error)}") from error


def compiled_of(project: Project) -> d.ProjectDefinition:
    """The definition as it is declared, whether or not it keeps the rules."""
    return d.ProjectDefinition(
        name=project.name,
        raw=tuple(d.RawStreamDefinition(raw.name, raw.format, raw.partitions) for raw in project.raw),
        sources=tuple(compile_source(source) for source in project.sources),
        views=tuple(compile_view(view) for view in project.views),
        pipelines=tuple(compile_pipeline(found) for found in project.pipelines),
        deployments=tuple(compile_deployment(found) for found in project.deployments),
        references=tuple(d.ReferenceDefinition(found.name, found.partitions) for found in project.references),
    )


def compile_pipeline(pipeline: Pipeline) -> d.PipelineDefinition:
    """A pipeline's part of the definition."""
    return d.PipelineDefinition(
        name=pipeline.name,
        function=reference_of(pipeline.transform),
        raw=pipeline.raw.name,
        sources=tuple(target.name for target in pipeline.to if isinstance(target, Source)),
        outcomes=tuple(target.deployment for target in pipeline.to if isinstance(target, OutcomesOf)),
        enrich=tuple(reference.name for reference in pipeline.enrich),
        remembers_s=seconds(pipeline.remembers),
        limit_s=seconds(pipeline.limit),
    )
