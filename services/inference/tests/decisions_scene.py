"""A deployment with three versions and a shadow, and the whole decision on a batch of its requests."""

import math
from typing import Any

import numpy as np
from services.inference.tests.conftest import PROJECT

from headrace.events.failures import Failure
from headrace.events.inference import DecisionMade, PredictionRequested, Score
from headrace.events.registry import Route, VersionRegistered
from headrace.features.rows import pin_signature
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.testing.registry import version_of
from headrace_inference.core.admission import admit_all
from headrace_inference.core.batch import (
    CallResult,
    Decided,
    DeploymentState,
    Features,
    Gathered,
    ModelCall,
    RowScores,
    shadows_of,
)
from headrace_inference.core.decide import decide, next_calls, start, with_results
from headrace_inference.core.eligibility import gathered, versions_of
from headrace_inference.core.repeats import AnswerWindow
from headrace_inference.core.rows import Rows

SAFE = PROJECT.deployment("safe")
SIGNATURES = {
    1: pin_signature(PROJECT, SAFE, {"carrier": ("AA",)}, inputs_only=True),
    2: pin_signature(PROJECT, SAFE, {"carrier": ("AA", "UA")}),
    3: pin_signature(PROJECT, SAFE, {"carrier": ("AA", "UA")}),
    4: pin_signature(PROJECT, SAFE, {"carrier": ("UA", "AA")}),
}
ROUTE = Route("safe", {3: 1.0}, "salt", 1, champion=3, previous=2, baseline=1, shadows=(4,))
APPLIED = {"events.landings.v1/0": 9}
NAN = math.nan
CHAMPION = "champion (version 3): "


def request(n: int, **changes: Any) -> Message:
    inputs = {"miles": 100.0 * n, "carrier": "UA"}
    event = PredictionRequested(
        changes.pop("deployment", "safe"), inputs, changes.pop("unit", f"u{n}"), changes.pop("deadline_ms", None)
    )
    headers = changes.pop("headers", (("ce_id", f"r{n}".encode()),))
    record = Record(
        "inference.requests", 0, changes.pop("offset", 40 + n), b"key", b"", headers, changes.pop("appended_ms", 1_000)
    )
    return Message(record, Envelope(changes.pop("id", f"r{n}"), "", "test", changes.pop("at_s", 1.0 + n)), event)


def features(*values: tuple[float, float], newest_s: float = 1.0) -> Features:
    return Features(
        np.array(values, np.float64), [{"carrier": f"UA{n}"} for n in range(len(values))], {"landings": newest_s}
    )


class Batch:
    """A batch for the deployment `safe` on its way through all stages; its versions give their number plus the share of miles."""

    def __init__(self, requests: list[Message], found: Features | None = None, **changes: Any) -> None:
        found = found or features(*[(5.0, 2.0)] * len(requests))
        route = changes.get("route", ROUTE)
        level = changes.get("level", 0)
        state = DeploymentState(PROJECT, SAFE, route, 7, Rows(PROJECT, SAFE), APPLIED, level, shadows_of(route))
        self.admitted = admit_all(requests, {"safe": state}, AnswerWindow(), changes.get("now_ms", 1_000), 0)
        failed = changes.get("failed", {})
        known: dict[tuple[str, int], VersionRegistered | Failure] = {
            name: failed.get(name[1]) or registered(name[1]) for name in versions_of(self.admitted)
        }
        levels = {"safe": level} if level else {}
        self.gathered: Gathered = gathered(self.admitted, {"safe": found} if self.admitted.cases else {}, known, levels)
        self.scored = start(self.gathered)
        self.calls: list[ModelCall] = []

    def round(self, give: Any = None, now_s: float = 1.0) -> "Batch":
        calls = next_calls(self.gathered, self.scored, now_s)
        self.calls += calls
        results = [CallResult(call, (give or sound)(call), 0.002, 0.002) for call in calls]
        self.scored = with_results(self.gathered, self.scored, results)
        return self

    def whole(self, give: Any = None) -> Decided:
        while next_calls(self.gathered, self.scored, 1.0):
            self.round(give)
        return decide(self.gathered, self.scored, 41, "code")


def registered(version: int) -> VersionRegistered:
    return version_of(version, deployment="safe", signature=SIGNATURES.get(version, SIGNATURES[3]))


def sound(call: ModelCall) -> RowScores:
    return RowScores([Score(call.name[1], "m", call.name[1] + float(row[0]) / 1000) for row in call.rows], {})


def row(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def made(n: int, answer: Any, **changes: Any) -> DecisionMade:
    fields: dict[str, Any] = {
        "request_offset": 40 + n,
        "row": row(100.0 * n, 1.0, 5.0 + n, 2.0),
        "signature": SIGNATURES[3].digest,
        "entities": {"carrier": f"UA{n}"},
        "applied": APPLIED,
        "route_offset": 7,
        "recovered": n == 0,
        "code_version": "code",
        "assigned": 3,
        "took_ms": {"3": 2.0},
    } | changes
    return DecisionMade(f"r{n}", "safe", f"u{n}", 1.0 + n, answer, **fields)
