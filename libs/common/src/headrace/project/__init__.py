"""What users import to declare a project."""

from headrace.project.declare import Project
from headrace.project.deployments import (
    Binary,
    BlueGreen,
    Breaker,
    Category,
    Deployment,
    Key,
    Number,
    PageHinkley,
    Retraining,
    Training,
    baseline,
    beats_prior,
    not_worse_than_champion,
    previous,
    prior,
)
from headrace.project.derived import Derived, fn
from headrace.project.pipelines import Outcome, Pipeline, outcomes, pipeline
from headrace.project.sources import RawStream, Reference, Source
from headrace.project.streams import Deduplicate, Join
from headrace.project.views import Count, FeatureView, Last, Max, Mean, Min, Share, Std, Sum

__all__ = [
    "Binary",
    "BlueGreen",
    "Breaker",
    "Category",
    "Count",
    "Deduplicate",
    "Deployment",
    "Derived",
    "FeatureView",
    "Join",
    "Key",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Number",
    "Outcome",
    "PageHinkley",
    "Pipeline",
    "Project",
    "RawStream",
    "Reference",
    "Retraining",
    "Share",
    "Source",
    "Std",
    "Sum",
    "Training",
    "baseline",
    "beats_prior",
    "fn",
    "not_worse_than_champion",
    "outcomes",
    "pipeline",
    "previous",
    "prior",
]
