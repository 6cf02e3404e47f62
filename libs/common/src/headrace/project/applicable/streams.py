"""Streams that lead somewhere: outcomes of deployments that take them."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.words import A_LABEL
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence


def stream_refusals(project: d.ProjectDefinition) -> Iterator[Sentence]:
    """Of a whole project."""
    unlabelled = {found.name for found in project.deployments if found.label is None}
    for pipeline in project.pipelines:
        for name in pipeline.outcomes:
            if name in unlabelled:
                told = (
                    f"outcomes({name!r}) is of a deployment that takes none: give that one a label, such as {A_LABEL}"
                )
                yield Sentence(f"{named('pipeline', pipeline.name)}: {told}", ("to",))
