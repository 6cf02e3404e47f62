"""A model's file as it is registered and served: agreed with a deployment, asked as an instance would ask it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import Signature
from headrace.features.rows import RowMaker
from headrace.models.engine import by_class, load
from headrace.models.frames import frame_of
from headrace.models.matching import matched
from headrace.models.own import own_scores
from headrace.project import Deployment, Project
from headrace.project.compile import compile_project
from headrace_cli.models.agreement import Agreed, Declared, agree

Inputs = Sequence[Mapping[str, Any]]


def compiled(inputs: Sequence[Any], label: Any = None) -> tuple[ProjectDefinition, DeploymentDefinition]:
    project = compile_project(Project("p", deployments=[Deployment("d", "unit", list(inputs), label=label)]))
    return project, project.deployments[0]


@dataclass(frozen=True)
class Served:
    """A version as it would be served."""

    data: bytes
    format: str
    agreed: Agreed
    deployment: DeploymentDefinition

    @property
    def signature(self) -> Signature:
        return self.agreed.signature

    def rows(self, inputs: Inputs) -> np.ndarray:
        return RowMaker(self.deployment, self.signature).rows(inputs, np.empty((len(inputs), 0)))

    def scores(self, inputs: Inputs) -> np.ndarray:
        answers = self.agreed.answers
        engine = matched(load(self.data, self.format), self.signature)
        rows = self.rows(inputs)
        asked = frame_of(rows, self.signature.columns) if self.signature.frame else rows
        return by_class(engine.predict(asked, answers.output), len(answers.classes), answers.places)

    def maker_scores(self, inputs: Inputs) -> np.ndarray:
        return own_scores(self.data, self.format, self.signature, self.agreed.answers.output, inputs, self.rows(inputs))


def registered(data: bytes, format: str, inputs: Sequence[Any], label: Any = None, **declared: Any) -> Served:
    """Registers a file and returns what was agreed. Raises `Misconfigured` or `Poison`, as the command does."""
    project, deployment = compiled(inputs, label)
    return Served(data, format, agree(load(data, format), project, deployment, Declared(**declared)), deployment)
