"""A deployment that is watched, its decisions and its windows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import MonitorState, VersionQuality, WindowClosed
from headrace.events.policies import DriftDefinition
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished
from headrace.project import (
    Binary,
    Count,
    Deployment,
    FeatureView,
    Key,
    Mean,
    PageHinkley,
    Project,
    Retraining,
    Source,
    Training,
)
from headrace.project.compile import compile_project
from headrace_monitor.core import findings
from headrace_monitor.core.findings import FindingStep, findings_of
from headrace_monitor.core.loss_change import Figure
from headrace_monitor.core.retrain_reasons import TrainingFact
from headrace_monitor.core.retrain_requests import request_id_of
from headrace_monitor.core.windows import Windows

DAY = 86_400.0
PLAN = DriftDefinition("page_hinkley", "log_loss", DAY, 0.02, 0.8, 7)


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None


def build(signature: object) -> None: ...


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
VIEW = FeatureView(
    "carrier", source=LANDINGS, entity="carrier", features={"mean": Mean("delay", "3h"), "n": Count("3h")}
)
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Key("carrier")],
                [VIEW.by("carrier")],
                label=Binary("late", "24h"),
                feature_delay=0,
                training=Training(build, first_after="3d"),
                monitoring=[PageHinkley()],
                retraining=Retraining(),
            )
        ],
        sources=[LANDINGS],
        views=[VIEW],
    )
)
DEPLOYMENT = PROJECT.deployments[0]


def decision(unit: str, at_s: float, value: float = 0.5, version: int = 1, **more: object) -> DecisionMade:
    score = Score(version, "m", value)
    answer = Served(score) if version else FellBack("prior", "no version yet", score)
    return DecisionMade(f"r{unit}", "d", unit, at_s, answer, 0, **more)  # type: ignore[arg-type]


def windows(rows: int = 100) -> Windows:
    found = Windows(DEPLOYMENT)
    for number in range(rows):
        found.add_decision(decision(f"u{number}", number * DAY / rows), number % 2, number)
    return found


def figure_of(loss: float) -> Figure:
    return Figure(0.0, loss)


def window(day: int, loss: float, version: int = 1, **more: object) -> WindowClosed:
    quality = VersionQuality(version, "champion", 100, loss, loss, 0.7, 0.3)
    fields = {"verdict": "PASS", "qualities": (quality,), "labelled": 100} | more
    return WindowClosed("d", day * DAY, (day + 1) * DAY, 100, positive_share=0.3, **fields)  # type: ignore[arg-type]


class Watched:
    """The findings of a deployment as they change; each call returns the facts that follow."""

    def __init__(self, deployment: DeploymentDefinition = DEPLOYMENT, memory: MonitorState | None = None) -> None:
        self.state = findings_of(deployment, memory)

    def on_window(self, closed: WindowClosed, served: int | None, clock_s: float) -> Sequence[Any]:
        return self._facts(findings.on_window(self.state, closed, served, clock_s))

    def on_champion(self, version: int) -> Sequence[Any]:
        return self._facts(findings.on_champion(self.state, version))

    def on_training(self, fact: TrainingFact) -> Sequence[Any]:
        return self._facts(findings.on_training(self.state, fact))

    def _facts(self, step: FindingStep) -> Sequence[Any]:
        self.state = step.state
        return list(step.facts)

    def memory(self) -> MonitorState:
        return findings.memory_of(self.state, {}, 0.0)


def watch(champion: int | None = 1) -> Watched:
    found = Watched()
    if champion is not None:
        found.on_champion(champion)
    return found


def days(found: Watched, losses: dict[int, float], served: int | None = 1, **more: object) -> list[Any]:
    """The facts that follow from windows of so many days."""
    return [
        event
        for day, loss in losses.items()
        for event in found.on_window(window(day, loss, served or 0, **more), served, (day + 1) * DAY)
    ]


def finished(found: Watched, request: RetrainRequested, outcome: str, **more: Any) -> Sequence[Any]:
    """The trainer takes a request up, and its run ends; the facts that follow from the end."""
    ident = request_id_of(request)
    found.on_training(RetrainAccepted("d", "run" + ident, ident, "drift", "", request.clock_s or 0.0))
    return found.on_training(TrainingFinished("d", "run" + ident, outcome, "", **more))
