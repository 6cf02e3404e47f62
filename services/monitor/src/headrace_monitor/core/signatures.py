"""Which served rows can be compared with recomputed ones: those that today's views of the deployment would make.

These are the rows logged under the deployment's own signature, or under the signature of a version of the same views. A row
that other views made (before a view was added, changed or dropped) has another meaning, even when it is as long as today's
rows. Nothing could recompute it, so it is not compared.

Also what the columns of a row are called: a decision names its signature, and logs bare numbers.
"""

from collections.abc import Mapping

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import ColumnPin, VersionRegistered
from headrace.features.rows import bare_signature

# Signatures of a deployment whose columns are kept: those of the newest versions. Vocabularies may be large.
_KEPT = 8


class Signatures:
    """The views behind each signature that a version has, by deployment, and the columns of the newest ones."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, str]] = {}
        self._columns: dict[str, dict[str, tuple[ColumnPin, ...]]] = {}

    def add(self, registered: VersionRegistered) -> None:
        """Note the signature of a registered version."""
        signature = registered.signature
        self._views.setdefault(registered.deployment, {})[signature.digest] = signature.views_digest
        newest = self._columns.setdefault(registered.deployment, {})
        newest.pop(signature.digest, None)
        newest[signature.digest] = signature.columns
        if len(newest) > _KEPT:
            del newest[next(iter(newest))]

    def columns(self, deployment: str) -> Mapping[str, tuple[ColumnPin, ...]]:
        """The columns of the signatures of the newest versions of a deployment, by the signature's digest."""
        return self._columns.get(deployment, {})

    def comparable(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> frozenset[str]:
        """The digests of the signatures whose rows today's views make."""
        bare = bare_signature(project, deployment)
        known = self._views.get(deployment.name, {})
        return frozenset({bare.digest, *(digest for digest, views in known.items() if views == bare.views_digest)})
