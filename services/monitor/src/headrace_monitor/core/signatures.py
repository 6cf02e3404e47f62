"""Which served rows can be compared with recomputed ones: those that today's views of the deployment would make.

These are the rows logged under the deployment's own signature, or under the signature of a version of the same views. A row
that other views made (before a view was added, changed or dropped) has another meaning, even when it is as long as today's
rows. Nothing could recompute it, so it is not compared.
"""

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import VersionRegistered
from headrace.features.rows import bare_signature


class Signatures:
    """The views behind each signature that a version has, by deployment."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, str]] = {}

    def add(self, registered: VersionRegistered) -> None:
        """Note the signature of a registered version."""
        signature = registered.signature
        self._views.setdefault(registered.deployment, {})[signature.digest] = signature.views_digest

    def comparable(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> frozenset[str]:
        """The digests of the signatures whose rows today's views make."""
        bare = bare_signature(project, deployment)
        known = self._views.get(deployment.name, {})
        return frozenset({bare.digest, *(digest for digest, views in known.items() if views == bare.views_digest)})
