"""A stream of labelled requests whose concept turns at a known day, and the deployment that answers them."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import ColumnPin, Lineage, Signature
from headrace.project import Binary, Deployment, LossChange, Number, Project, Retraining, Training
from headrace.project.compile import compile_project
from headrace_backtest.history import History
from headrace_backtest.training import Trainer
from headrace_backtest.versions import Version, registered_as

DAY = 86_400.0
BEGIN_S = 1_364_774_400.0
COLUMNS = ("a", "b")


def build(signature: Any) -> LogisticRegression:
    """A small model."""
    return LogisticRegression()


def deployment(**changes: Any) -> DeploymentDefinition:
    """One that watches the loss and retrains."""
    fields: dict[str, Any] = {
        "label": Binary("late", "6h"),
        "training": Training(build, history="60d", holdout="2d", embargo="0s", first_after="5d", min_rows=100),
        "monitoring": [LossChange()],
        "retraining": Retraining(cooldown="2d"),
    } | changes
    found = Deployment("d", "u", [Number(name, -9, 9) for name in COLUMNS], **fields)
    return compile_project(Project("p", [found])).deployments[0]


def stream(days: int, a_day: int, turns: float = np.inf, seed: int = 1) -> History:
    """`a_day` requests a day, labelled four hours later. From day `turns` on the labels mean the opposite."""
    rng, count = np.random.default_rng(seed), days * a_day
    at_s = BEGIN_S + np.arange(count) * DAY / a_day
    matrix = rng.normal(size=(count, len(COLUMNS))).astype(np.float32)
    lean = np.where(at_s < BEGIN_S + turns * DAY, 1.0, -1.0) * (2.0 * matrix[:, 0] - matrix[:, 1])
    labels = (rng.random(count) < 1 / (1 + np.exp(-lean))).astype(float)
    names = [f"r{n}" for n in range(count)]
    signature = Signature(tuple(ColumnPin(name) for name in COLUMNS), "rows")
    return History(names, names, at_s, matrix, labels, at_s + DAY / 6, np.ones(count, bool), signature, "binary")


def champion(trainer: Trainer, clock_s: float) -> Version:
    """A version that was fitted on everything before an instant."""
    scoring = trainer.fit_all(clock_s)
    assert scoring is not None, "there are too few rows"
    lineage = Lineage(request_from_s=BEGIN_S, request_to_s=clock_s)
    registered = registered_as(trainer.deployment, 1, trainer.history.signature, clock_s, "m1", lineage)
    return Version(registered, scoring)
