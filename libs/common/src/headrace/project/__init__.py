"""The declarations that users import to write a project."""

from headrace.project.declare import Project
from headrace.project.deployments import (
    ABTest,
    BlueGreen,
    Breaker,
    Canary,
    Deployment,
    Guardrail,
    Retraining,
    Shadow,
    Training,
    baseline,
    beats_prior,
    not_worse_than_champion,
    previous,
    prior,
)
from headrace.project.derived import Derived, fn
from headrace.project.fields import Binary, Category, Key, Multiclass, Number, Regression
from headrace.project.monitoring import Adwin, Charts, LossChange, PageHinkley
from headrace.project.pipelines import Outcome, Pipeline, outcomes, pipeline
from headrace.project.sources import RawStream, Reference, Source
from headrace.project.streams import Deduplicate, Join
from headrace.project.views import Count, FeatureView, Last, Max, Mean, Min, Share, Std, Sum

__all__ = [
    "ABTest",
    "Adwin",
    "Binary",
    "BlueGreen",
    "Breaker",
    "Canary",
    "Category",
    "Charts",
    "Count",
    "Deduplicate",
    "Deployment",
    "Derived",
    "FeatureView",
    "Guardrail",
    "Join",
    "Key",
    "Last",
    "LossChange",
    "Max",
    "Mean",
    "Min",
    "Multiclass",
    "Number",
    "Outcome",
    "PageHinkley",
    "Pipeline",
    "Project",
    "RawStream",
    "Reference",
    "Regression",
    "Retraining",
    "Shadow",
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
