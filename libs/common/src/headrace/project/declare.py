"""A project as a user declares it."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.project.deployments import Deployment
from headrace.project.pipelines import Pipeline
from headrace.project.sources import RawStream, Reference, Source
from headrace.project.views import FeatureView


@dataclass(frozen=True)
class Project:
    """All that Headrace needs to know: raw streams, references, pipelines, sources, views and deployments."""

    name: str
    deployments: Sequence[Deployment]
    raw: Sequence[RawStream] = ()
    pipelines: Sequence[Pipeline] = ()
    sources: Sequence[Source] = ()
    views: Sequence[FeatureView] = ()
    references: Sequence[Reference] = ()
