"""Which row a version sees for a request."""

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import Signature
from headrace.features.precision import gaps
from headrace.features.rows import RowMaker, bare_signature, whole
from headrace_inference.core.contract import Contract

# Versions come and go, and a handful are asked at a time: beyond so many makers all are forgotten.
_MOST_MAKERS = 64


class Rows:
    """Makes rows of one deployment as it is defined now. `views`: sources by the keys of its views."""

    def __init__(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> None:
        self.deployment = deployment
        self.contract = Contract(deployment)
        self.views = {binding.key: project.view(binding.view).source for binding in deployment.features}
        self.sources = set(self.views.values())
        self.bare = bare_signature(project, deployment)
        self._makers: dict[str, RowMaker] = {}
        own = len([field for field in deployment.inputs if field.kind != "key"]) + len(deployment.derived)
        self._feature_names = [column.name for column in self.bare.columns[own:]]
        views = [project.view(binding.view) for binding in deployment.features]
        self._limits = [
            (f"{view.name}.{feature.name}", view.source, feature.stale_after_s)
            for view in views
            for feature in view.features
            if feature.stale_after_s is not None
        ]

    def maker(self, signature: Signature) -> RowMaker:
        """Makes rows in the order of `signature`. They may have more columns than it: those are not the version's."""
        maker = self._makers.get(signature.digest)
        if maker is None:
            if len(self._makers) >= _MOST_MAKERS:
                self._makers.clear()
            maker = self._makers[signature.digest] = RowMaker(self.deployment, whole(signature, self.bare))
        return maker

    def lack(self, missing: Sequence[str], stale: Sequence[str]) -> str | None:
        """Why a request must go down to a step that needs no view; None when enough features are there and fresh."""
        limit, count = self.deployment.degrade_when, len(set(missing) | set(stale))
        if limit is None or count <= limit * len(self._feature_names):
            return None
        return f"{count} of {len(self._feature_names)} features are missing or stale, {limit:.0%} may be"

    def missing(self, features: np.ndarray) -> tuple[str, ...]:
        """Names of the view features without a value; `features`: float64 (view features,)."""
        return self.missing_of_each(features.reshape(1, -1))[0]

    def missing_of_each(self, features: np.ndarray) -> list[tuple[str, ...]]:
        """The same for many requests; `features`: float64 (n, view features)."""
        found = gaps(features)
        missing: list[tuple[str, ...]] = [()] * len(found)
        for place in np.flatnonzero(found.any(axis=1)).tolist():
            missing[place] = tuple(name for name, gap in zip(self._feature_names, found[place], strict=True) if gap)
        return missing

    @property
    def timed_sources(self) -> set[str]:
        """The sources whose features have a limit to their age."""
        return {source for _, source, _ in self._limits}

    def stale(self, at_s: float, newest_s: Mapping[str, float]) -> tuple[str, ...]:
        """Names of the view features whose source has sent nothing newer than their limit. `newest_s`: of each of `timed_sources`."""
        if not self._limits:
            return ()
        return tuple(name for name, source, limit_s in self._limits if at_s - newest_s[source] > limit_s)
