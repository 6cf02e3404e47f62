"""Rules of pipelines: inputs and outputs are declared, and no two pipelines make the same source from the same
stream.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Sentence, at


def pipeline_rules(project: d.ProjectDefinition, pipeline: d.PipelineDefinition) -> Iterator[str]:
    """The rules of one pipeline that are broken."""
    what = bounds.named("pipeline", pipeline.name)
    yield from bounds.text(what, "its function", pipeline.function, 500)
    yield from _listed(what, "raw stream", (pipeline.raw,), project.raw, "raw")
    yield from _listed(what, "reference", pipeline.enrich, project.references, "references")
    yield from _listed(what, "source", pipeline.sources, project.sources, "sources")
    if len({*pipeline.sources}) < len(pipeline.sources) or len({*pipeline.outcomes}) < len(pipeline.outcomes):
        yield Sentence(f"{what}: it names an output twice", ("to",))
    deployments = {found.name for found in project.deployments}
    for name in pipeline.outcomes:
        if name not in deployments:
            yield Sentence(f"{what}: outcomes({name[:80]!r}) names no deployment of the project", ("to",))
    yield from at(("remembers",), bounds.seconds(what, "remembers", pipeline.remembers_s, 0))
    yield from at(("limit",), bounds.seconds(what, "limit", pipeline.limit_s, 0.01, bounds.DAY_S))


def _listed(what: str, kind: str, names: Iterable[str], group: Iterable[Any], where: str) -> Iterator[str]:
    known = {found.name for found in group}
    for name in names:
        if name not in known:
            yield f"{what}: {kind} {name[:80]!r} is not in the project's {where}=[...]"


def shared_outputs(project: d.ProjectDefinition) -> Iterator[str]:
    """Outputs are identified by their raw record, so two pipelines must not make the same source from one stream."""
    seen: dict[tuple[str, str], str] = {}
    for pipeline in project.pipelines:
        for source in pipeline.sources:
            other = seen.setdefault((pipeline.raw, source), pipeline.name)
            if other != pipeline.name:
                yield (
                    f"pipelines {other} and {pipeline.name} both turn {pipeline.raw} into {source}: make one pipeline of them"
                )
