"""Which served rows today's views would make: those logged under the deployment's own signature, or under one of a version of the same views.

A row that other views made (before a view was added, changed or dropped) has another meaning, be it as long as today's: nothing here could
make it again, so it is not compared.
"""

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import VersionRegistered
from headrace.features.rows import bare_signature


class Signatures:
    """The views behind each signature that a version has, by deployment."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, str]] = {}

    def take(self, registered: VersionRegistered) -> None:
        """A version that there is."""
        signature = registered.signature
        self._views.setdefault(registered.deployment, {})[signature.digest] = signature.views_digest

    def alike(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> frozenset[str]:
        """Digests of the signatures whose rows today's views make."""
        bare = bare_signature(project, deployment)
        known = self._views.get(deployment.name, {})
        return frozenset({bare.digest, *(digest for digest, views in known.items() if views == bare.views_digest)})
