"""What a definition may hold: one list of rules, for `apply` before it publishes and for every reader of the log.

Each broken rule is one sentence: the subject, the value, and what is expected. A reader without these rules would
divide by a window of zero length, loop over a million partitions, or create a topic from a typing error.
"""

from collections.abc import Iterator

from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.bounds import named
from headrace.project.rules.deployments import deployment_rules
from headrace.project.rules.names import WITH_TOPICS, groups, names, names_of, sizes, wrong_type
from headrace.project.rules.pipelines import pipeline_rules, shared_outputs
from headrace.project.rules.rollouts import rollout_rules
from headrace.project.rules.sentences import at
from headrace.project.rules.streams import partitions_alike, raw_rules, reference_rules, source_rules
from headrace.project.rules.views import pane_width_s, view_rules

__all__ = ["WITH_TOPICS", "broken", "check", "deployment_rules", "named", "names_of", "pane_width_s", "rollout_rules"]


def check(project: d.ProjectDefinition) -> None:
    """Raise `Misconfigured` with the first rule that a definition breaks."""
    for sentence in broken(project):
        raise Misconfigured(sentence)


def broken(project: d.ProjectDefinition) -> Iterator[str]:
    """The rules that a definition breaks, one sentence each.

    NB: later rules may rely on earlier ones, so only the first sentence is certain.
    """
    wrong = wrong_type(project)
    if wrong:
        yield wrong
        return
    yield from at(("name",), bounds.name("project", project.name))
    yield from sizes(project)
    for kind, group in groups(project):
        yield from names(project, kind, group)
    for raw in project.raw:
        yield from raw_rules(raw)
    for reference in project.references:
        yield from reference_rules(reference)
    for source in project.sources:
        yield from source_rules(source)
    yield from partitions_alike(project)
    for view in project.views:
        yield from view_rules(project, view)
    for pipeline in project.pipelines:
        yield from pipeline_rules(project, pipeline)
    yield from shared_outputs(project)
    for deployment in project.deployments:
        yield from deployment_rules(project, deployment)
