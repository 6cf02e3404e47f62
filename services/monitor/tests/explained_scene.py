"""A window of a deployment with a category, a number and an entity, and the evidence of a finding that opens in it."""

from typing import Any

import msgspec
import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import FindingOpened, Usual, WindowClosed
from headrace.events.registry import Signature
from headrace.features.rows import pin_signature
from headrace.project import Binary, Category, Deployment, Multiclass, Number, Project, Regression
from headrace.project.compile import compile_project
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.explaining import Explained, explained, look_at, usual_after
from headrace_monitor.core.windows import Late, Windows

DAY, ROWS = 86_400.0, 3_000
CARRIERS = ("AA", "UA", "WN")
LABELS = {
    "binary": Binary("y", "1h"),
    "classes": Multiclass("y", ("a", "b", "c"), "1h"),
    "number": Regression("y", 0, 100, "1h"),
}


class Scene:
    """Days of one deployment. `carrier`, `temp`, `score`, `label`: of the requests of a day, as they usually are."""

    def __init__(self, kind: str = "binary", seed: int = 1) -> None:
        deployment = Deployment("d", "u", [Category("carrier"), Number("temp", nullable=True)], label=LABELS[kind])
        self.kind, self.project = kind, compile_project(Project("p", [deployment]))
        self.rng, self.usual = np.random.default_rng(seed), Usual()

    @property
    def deployment(self) -> DeploymentDefinition:
        return self.project.deployments[0]

    @property
    def signature(self) -> Signature:
        return pin_signature(self.project, self.deployment, {"carrier": CARRIERS})

    def day(self, rows: int = ROWS) -> dict[str, Any]:
        """The columns of a usual day: the label follows the score, and carrier WN is always the hardest."""
        carrier = self.rng.integers(0, 3, rows).astype(np.float64)
        temp = self.rng.normal(10, 8, rows)
        score = self.rng.uniform(0.05, 0.4, rows)
        label = (self.rng.random(rows) < score).astype(np.float64)
        if self.kind == "number":
            score = self.rng.uniform(20, 80, rows)
            label = np.clip(score + self.rng.normal(0, np.where(carrier == 2, 12, 3)), 0, 100)
        if self.kind == "classes":
            label = np.where(self.rng.random(rows) < 0.8, 0.0, 1.0)
        return {"carrier": carrier, "temp": temp, "score": score, "label": label, "code": ["c1"] * rows}

    def seen(self, number: int, day: dict[str, Any], version: int = 1, window: WindowClosed | None = None) -> Explained:
        """The window of a day as the explanation of findings sees it."""
        decisions = [self._decision(number, place, day, version) for place in range(len(day["carrier"]))]
        windows = Windows(self.deployment)
        for place, decision in enumerate(decisions):
            windows.add_decision(decision, 0, 1000 * number + place)
        rows = windows.rows_of(number * DAY, (number + 2) * DAY)
        rows.labels[:] = day["label"]
        signatures = {self.signature.digest: self.signature.columns}
        inputs = WindowInputs(
            self.project, self.deployment, rows, decisions, {}, {}, 0.0, (), signatures, "inference.decisions.v1"
        )
        closed = window or evaluate(inputs, number * DAY, Late(), None)
        return look_at(inputs, closed, self.usual, version)

    def live(self, days: int, first: int = 0) -> None:
        """Usual days pass."""
        for number in range(first, first + days):
            self.usual = usual_after(self.seen(number, self.day()), is_usual=True)

    def finding(self, seen: Explained, kind: str = "drift", **more: Any) -> FindingOpened:
        """A finding with its evidence."""
        fields = {"version": 1} | more
        return explained(FindingOpened("f1", "d", kind, "", seen.window.to_s, **fields), seen, {})

    def _decision(self, number: int, place: int, day: dict[str, Any], version: int) -> DecisionMade:
        at_s = number * DAY + place * DAY / len(day["carrier"])
        score = Score(version, "m", float(day["score"][place]))
        if self.kind == "classes":
            score = Score(version, "m", probabilities=(0.8, 0.15, 0.05))
        row = np.array([day["carrier"][place], day["temp"][place]], "<f4").tobytes()
        made = DecisionMade(f"r{number}-{place}", "d", f"u{place}", at_s, Served(score), 0, row, self.signature.digest)
        return msgspec.structs.replace(made, code_version=day["code"][place])
