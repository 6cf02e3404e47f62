"""Outcomes go to deployments that take them."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.wording import A_LABEL
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence


def stream_refusals(project: d.ProjectDefinition) -> Iterator[Sentence]:
    """Refusals that concern the streams of a project."""
    unlabelled = {found.name for found in project.deployments if found.label is None}
    for pipeline in project.pipelines:
        for name in pipeline.outcomes:
            if name in unlabelled:
                problem = (
                    f"outcomes({name!r}) names a deployment that takes no outcomes: give it a label, such as {A_LABEL}"
                )
                yield Sentence(f"{named('pipeline', pipeline.name)}: {problem}", ("to",))
