"""The log of a deployment whose concept turns: requests, the rows that were served, labels, and a version that answered."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from libs.backtest.tests.scene import BEGIN_S, COLUMNS, DAY, stream
from msgspec.structs import replace
from sklearn.linear_model import LogisticRegression

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, FellBack, OutcomeObserved, PredictionRequested, Score, Served
from headrace.events.registry import ArtifactPlace, Lineage, ModelVersion, Signature
from headrace.features.rows import bare_signature
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.models import skops_format
from headrace_backtest.versions import registered_as

DAYS, A_DAY, TURNS, FIRST_DAY = 34, 60, 22.0, 10
PROJECT = """
from sklearn.linear_model import LogisticRegression

from headrace.project import Binary, Deployment, LossChange, Number, Project, Retraining, Training


def build(signature):
    return LogisticRegression()


LEARNS = Training(build, history="60d", holdout="2d", embargo="0s", first_after="5d", min_rows=100)
d = Deployment("d", "u", [Number("a", -9, 9), Number("b", -9, 9)], label=Binary("late", "6h"), training=LEARNS,
    monitoring=[LossChange()], retraining=Retraining(cooldown="2d"))
bare = Deployment("bare", "u", [Number("a", -9, 9)], label=Binary("late", "6h"))
idle = Deployment("idle", "u", [Number("a", -9, 9)], label=Binary("late", "6h"), training=LEARNS)
project = Project("mine", [d, bare, idle])
"""


def written(folder: Path) -> Path:
    """The project as a file."""
    path = folder / "mine.py"
    path.write_text(PROJECT)
    return path


def records(topics: Topics, signature: Signature, first_day: int = FIRST_DAY) -> Iterator[Out]:
    """Every request, its label, and from `first_day` on how version 1 answered."""
    history, model = stream(DAYS, A_DAY, TURNS), fitted(first_day)
    scores = model.predict_proba(history.matrix)[:, 1]
    for n, unit in enumerate(history.units):
        at_s, row = float(history.at_s[n]), history.matrix[n]
        inputs = dict(zip(COLUMNS, map(float, row), strict=True))
        asked, prior = PredictionRequested("d", inputs, unit), FellBack("prior", "no version yet", Score(0, "", 0.5))
        is_served = at_s >= BEGIN_S + first_day * DAY
        answer = Served(Score(1, "m1", float(scores[n]))) if is_served else prior
        logged = (row.astype("<f4").tobytes(), signature.digest) if is_served else (b"", "")
        made = DecisionMade(unit, "d", unit, at_s, answer, n, *logged)
        told = OutcomeObserved("d", unit, float(history.labels[n]))
        for noun, event, known_s in (
            ("requests", asked, at_s),
            ("decisions", made, at_s),
            ("outcomes", told, float(history.known_s[n])),
        ):
            ident = unit if noun == "requests" else f"{noun}-{n}"
            yield out(topics.name(f"inference.{noun}"), unit, event, Envelope(ident, "", "test", known_s))


def fitted(first_day: int = FIRST_DAY) -> LogisticRegression:
    """What answered: fitted on the days before."""
    history = stream(DAYS, A_DAY, TURNS)
    before = history.known_s < BEGIN_S + first_day * DAY
    return LogisticRegression().fit(history.matrix[before], history.labels[before])


def artifact() -> bytes:
    """The bytes of that model."""
    return skops_format.dump(fitted())


def model_version(project: ProjectDefinition, deployment: DeploymentDefinition, place: ArtifactPlace) -> ModelVersion:
    """Version 1 as champion."""
    lineage = Lineage(request_from_s=BEGIN_S, request_to_s=BEGIN_S + FIRST_DAY * DAY)
    signature = bare_signature(project, deployment)
    registered = registered_as(deployment, 1, signature, BEGIN_S + FIRST_DAY * DAY, "m1", lineage)
    return ModelVersion(replace(registered, place=place), "live", ("champion",))


def rows_of_stretch() -> int:
    """How many requests version 1 answered."""
    return int(np.sum(stream(DAYS, A_DAY).at_s >= BEGIN_S + FIRST_DAY * DAY))
