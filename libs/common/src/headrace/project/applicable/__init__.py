"""What `apply` refuses beyond the rules, and what it warns of: definitions that are valid and cannot work.

Readers of the log never ask these: a definition that an older version applied stays valid (see `rules` for what no
definition may hold, and decision 12). Each refusal is one sentence with the way out, and names the argument concerned.
"""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.labels import label_refusals
from headrace.project.applicable.late import late_warnings
from headrace.project.applicable.metrics import metric_refusals
from headrace.project.applicable.monitoring import monitoring_refusals
from headrace.project.applicable.rollouts import rollout_refusals
from headrace.project.applicable.serving import serving_refusals
from headrace.project.applicable.streams import stream_refusals
from headrace.project.applicable.training import training_refusals
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence

__all__ = ["deployment_refusals", "refusals", "stream_refusals", "warnings"]


def refusals(project: d.ProjectDefinition) -> Iterator[Sentence]:
    """What cannot work in a project, one sentence each."""
    for found in project.deployments:
        yield from deployment_refusals(project, found)
    yield from stream_refusals(project)


def deployment_refusals(project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """What cannot work in one deployment."""
    what = named("deployment", found.name)
    yield from label_refusals(what, found)
    yield from serving_refusals(what, project, found)
    yield from training_refusals(what, found)
    yield from monitoring_refusals(what, found)
    yield from metric_refusals(what, found)
    yield from rollout_refusals(what, found)


def warnings(found: d.DeploymentDefinition, project: d.ProjectDefinition) -> Iterator[Sentence]:
    """What works in a deployment, but decides late or never."""
    yield from late_warnings(named("deployment", found.name), found, project)
