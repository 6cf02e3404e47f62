"""Which topics each service needs rights on.

A service starts when these exist. The topics of a project (`events.*`, `raw.*`, `reference.*`) count once it is
applied.
"""

from collections.abc import Iterable

from headrace.events.definition import ProjectDefinition
from headrace.log.topics import Topics

_ALL = ("project.definitions", "ops.health")
_OWN: dict[str, tuple[str, ...]] = {
    "gateway": ("inference.requests", "inference.outcomes", "inference.replies", "registry.routes", "registry.models"),
    "pipeline": ("inference.outcomes",),
    "feature": ("features.online",),
    "inference": (
        "features.online", "registry.models", "registry.routes", "registry.artifacts",
        "inference.requests", "inference.decisions", "inference.replies", "inference.facts",
    ),
    "registry": (
        "registry.commands", "registry.facts", "registry.models", "registry.routes", "registry.artifacts",
        "monitor.verdicts", "monitor.findings", "inference.facts",
    ),
    "monitor": (
        "inference.requests", "inference.decisions", "inference.outcomes", "inference.facts", "registry.facts", "registry.routes",
        "registry.models", "monitor.findings", "monitor.verdicts", "monitor.windows", "monitor.state", "training.requests", "training.facts",
        "alerts", "alerts.silences",
    ),
    "console": (
        "registry.commands", "registry.facts", "monitor.findings", "monitor.verdicts", "monitor.windows", "monitor.backtests",
        "training.requests", "training.facts", "inference.facts", "alerts", "alerts.silences", "inference.decisions", "inference.outcomes",
        "registry.models", "registry.routes",
    ),
    "forwarder": ("alerts", "alerts.silences"),
    "trainer": (
        "training.requests", "training.facts", "registry.commands", "registry.models", "registry.artifacts",
        "inference.requests", "inference.outcomes", "inference.decisions",
    ),
}  # fmt: skip
# Topics whose re-creation the service handles itself, so that HTTP continues.
_TENDED = {"gateway": ("inference.requests", "inference.outcomes", "inference.replies")}
_SOURCES = ("pipeline", "feature", "monitor", "trainer")


def needed(topics: Topics, service: str, projects: Iterable[ProjectDefinition] = ()) -> frozenset[str]:
    """Full names of the topics that a service needs; all topics for a service that is not ours.

    >>> sorted(needed(Topics.load("t"), "feature"))
    ['t.dlq.feature.v1', 't.features.online.v1', 't.ops.health.v1', 't.ops.stops.v1', 't.project.definitions.v1']
    """
    if service not in _OWN:
        return frozenset(spec.name for spec in topics.specs())
    names = {topics.name(base) for base in _ALL + _OWN[service]}
    if service not in ("gateway", "forwarder"):
        names |= {topics.dlq(service), topics.name("ops.stops")}
    if service in ("monitor", "console"):
        names |= {topics.dlq(other) for other in topics.services}
    for project in projects:
        names |= _of_project(topics, service, project)
    return frozenset(names)


def tended(topics: Topics, service: str) -> frozenset[str]:
    """Full names of the topics whose deletion and re-creation a service handles itself."""
    return frozenset(map(topics.name, _TENDED.get(service, ())))


def _of_project(topics: Topics, service: str, project: ProjectDefinition) -> set[str]:
    found = {topics.of_source(source.name) for source in project.sources} if service in _SOURCES else set()
    if service == "pipeline":
        found |= {topics.of_raw(stream.name) for stream in project.raw}
        found |= {topics.of_reference(reference.name) for reference in project.references}
    return found
