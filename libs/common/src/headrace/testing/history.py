"""A deployment's history as messages with readable values, each in its topic: for tests of what reads the log."""

from typing import Any

from headrace.events import type_name
from headrace.events.alerts import AlertChanged, AlertSilence
from headrace.events.efficacy import EfficacyReported
from headrace.events.inference import VersionWarmed
from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.events.registry import (
    AliasMoved,
    GateResult,
    RegisterVersion,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
    RouteChanged,
)
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.events.verdicts import PASS, VerdictGiven
from headrace.evidence.episodes import Episode
from headrace.evidence.timeline import Timeline
from headrace.log.codec import Message
from headrace.log.envelope import Envelope, derived_id, format_instant
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.testing.registry import command, version_of

# Event time plays the past while records are appended now.
EVENT_S, WALL_S, HOUR_S = 1_364_774_400.0, 1_790_000_000.0, 3600.0


class History:
    """Messages in the order of their append time. `at_s`: the event time of the next one; `wall_s`: its append time."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.at_s, self.wall_s = EVENT_S, WALL_S
        self._topics = {kind: base for base, rule in Topics.load("").rules.items() for kind in rule.types}
        self._ends: dict[str, int] = {}

    def add(
        self, event: Any, ident: str = "", cause: str = "", time_s: float | None = None, after_s: float = 1.0
    ) -> str:
        """Append an event `after_s` after the one before; returns its id. `time_s`: its `ce_time`, else `at_s`."""
        self.wall_s += after_s
        kind = type_name(type(event))
        topic = self._topics[kind]
        offset = self._ends.get(topic, 0)
        self._ends[topic] = offset + 1
        ident = ident or f"{kind}-{len(self.messages)}"
        envelope = Envelope(ident, kind, "test", self.at_s if time_s is None else time_s, cause or None)
        self.messages.append(Message(Record(topic, 0, offset, b"", b"", (), int(self.wall_s * 1000)), envelope, event))
        return ident

    def episodes(self, deployment: str = "d") -> list[Episode]:
        """The episodes that a timeline makes of the messages."""
        timeline = Timeline()
        for message in self.messages:
            timeline.take(message)
        return timeline.episodes(deployment)

    def by_hand(self, event: Any, ident: str) -> str:
        """A person's command: its instant is that of the wall clock."""
        return self.add(event, ident, time_s=self.wall_s + 1.0)

    def finding(self, name: str = "f1", deployment: str = "d", kind: str = "drift", **changes: Any) -> str:
        """A window closes, and a finding opens that has been so for two hours."""
        window = WindowClosed(deployment, self.at_s - HOUR_S, self.at_s, 100, 100, 0.5, PASS)
        cause = self.add(window, f"window-{deployment}-{name}")
        fields: dict[str, Any] = {
            "detector": "loss_change", "measured": 0.685, "limit": 0.52, "back_at": 0.5, "version": 1,
            "window_from_s": self.at_s - HOUR_S, "window_to_s": self.at_s, "changed_at_s": self.at_s - 2 * HOUR_S,
        } | changes  # fmt: skip
        opened = FindingOpened(name, deployment, kind, "log-loss of version 1 has risen", self.at_s, **fields)
        return self.add(opened, f"{name}-opened", cause, after_s=0.0)

    def resolved(self, name: str = "f1", deployment: str = "d", kind: str = "drift") -> str:
        """The finding is over."""
        return self.add(
            FindingResolved(name, deployment, kind, "log-loss is back: .421", self.at_s), f"{name}-resolved"
        )

    def request(self, ident: str, finding: str | None = "f1", deployment: str = "d", cause: str = "drift") -> str:
        """The monitor requests a retrain because of a finding."""
        event = RetrainRequested(deployment, cause, "the loss has risen", "monitor", finding, self.at_s)
        return self.add(event, ident, f"{finding}-opened" if finding else "", after_s=0.0)

    def run(self, run: str, request: str, deployment: str = "d", gate: str = PASS, outcome: str = "registered") -> None:
        """The run of a request: accepted, progress, two gates of which the second has the verdict `gate`, and its end."""
        accepted = RetrainAccepted(deployment, run, request, "drift", "the loss has risen", self.at_s)
        self.add(accepted, f"{run}-accepted", request)
        for share in (0.2, 0.8):
            self.add(TrainingProgressed(deployment, run, "fit", share), f"{run}-{share}", request, after_s=10.0)
        for name, found in {"parity": PASS, "better": gate}.items():
            result = GateResult(name, found, 0.41, 0.69, "m")
            self.add(GateJudged(deployment, run, result), f"{run}-{name}", request)
        reason = "" if outcome == "registered" else "the gate `better` failed"
        self.add(TrainingFinished(deployment, run, outcome, reason, "m", 101_600, 41.0), f"{run}-finished", request)

    def registered(self, version: int, run: str, request: str, deployment: str = "d") -> str:
        """The trainer registers a run's version; returns the id of its command."""
        ident = derived_id("register", run)
        self.add(command(deployment=deployment), ident, request)
        fact = version_of(version, deployment=deployment, command_id=ident, trained_rows=101_600)
        self.add(fact, f"{deployment}-v{version}", ident)
        return ident

    def rollout(self, version: int, cause: str, policy: str = "blue_green", deployment: str = "d") -> str:
        """A rollout begins, and two instances warm its version; returns its id."""
        rollout = f"{deployment}-r{version}"
        started = RolloutStarted(deployment, rollout, version, policy, "drift", None, version - 1)
        self.add(started, f"{rollout}-started", cause, after_s=0.0)
        for instance in ("inference-1", "inference-2"):
            self.add(VersionWarmed(deployment, version, instance, 0.4), f"{rollout}-{instance}", time_s=self.wall_s)
        return rollout

    def step(self, rollout: str, version: int, share: float, number: int, deployment: str = "d") -> str:
        """A verdict passes, and the canary takes a share."""
        verdict = VerdictGiven(deployment, rollout, version, number, PASS, PASS, self.at_s)
        cause = self.add(verdict, f"{rollout}-verdict-{number}")
        advanced = RolloutAdvanced(deployment, rollout, version, "canary", share, number, self.at_s)
        return self.add(advanced, f"{rollout}-step-{number}", cause)

    def switched(self, rollout: str, version: int, cause: str, deployment: str = "d") -> None:
        """The version becomes champion, in one transaction."""
        route = Route(deployment, {version: 1.0}, "salt", version, champion=version)
        facts = (
            RolloutAdvanced(deployment, rollout, version, "switched", 1.0, 9, self.at_s),
            AliasMoved(deployment, "previous", version - 1, None, "drift"),
            AliasMoved(deployment, "champion", version, version - 1 or None, "drift"),
            RouteChanged(deployment, route),
            RolloutCompleted(deployment, rollout, version, self.at_s, True),
        )
        for number, fact in enumerate(facts):
            self.add(fact, f"{rollout}-switched-{number}", cause, after_s=0.0 if number else 1.0)

    def alert(
        self, name: str, status: str = "firing", silence: AlertSilence | None = None, began_s: float = 0.0, **about: str
    ) -> str:
        """An alert begins, is silenced or ends; its instant is that of the wall clock. `began_s`: seconds before it."""
        labels = {"alertname": name, "severity": "warning", "deployment": "d", **about}
        starts_at = format_instant(self.wall_s + 1.0 - began_s)
        event = AlertChanged(status, labels, {"summary": "look at it"}, starts_at, "", "fp", silence=silence)
        return self.add(event, f"{name}-{status}-{len(self.messages)}", time_s=self.wall_s)

    def gained(
        self, version: int, gain: float, low: float | None = None, days: int = 1, *, is_final: bool = False
    ) -> str:
        """The monitor reports what the switch to a version brought. `low`: `high` is as far from the gain."""
        high = None if low is None else 2 * gain - low
        fields = (version, version - 1, self.at_s, self.at_s + days * 24 * HOUR_S, days, 1500 * days, gain, low, high)
        return self.add(EfficacyReported("d", *fields, is_final=is_final), f"gained-{version}-{days}")

    def drift_to_switch(self, deployment: str = "d", version: int = 2) -> None:
        """Drift, retrain, gates, a blue-green switch, and four hours later the finding's end."""
        finding, request, run = f"{deployment}-f{version}", f"{deployment}-q{version}", f"{deployment}run{version}"
        self.finding(finding, deployment)
        self.request(request, finding, deployment)
        self.run(run, request, deployment)
        registering = self.registered(version, run, request, deployment)
        self.switched(self.rollout(version, registering, deployment=deployment), version, registering, deployment)
        self.at_s += 4 * HOUR_S
        self.resolved(finding, deployment)


def kinds(episode: Episode) -> list[str]:
    """The types of an episode's steps in order, without gates and instances that warmed."""
    return [step.kind for step in episode.steps if step.part not in ("warm", "gates")]


def registered_by_hand(by: str = "anna") -> RegisterVersion:
    """A person registers a model."""
    return command(by=by)
