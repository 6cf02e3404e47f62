"""The console on a log in memory with an installation's records: two deployments, a rollout, windows, a finding, an alert."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.clock import SystemClock
from headrace.events.alerts import AlertChanged
from headrace.events.audit import AuditReported
from headrace.events.backtests import BacktestPolicy, BacktestReported
from headrace.events.charts import ChartPoint, ColumnSeen, Estimated
from headrace.events.definition import digest_of
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import (
    BudgetReported,
    FindingEvidence,
    FindingOpened,
    FindingResolved,
    Moved,
    Segment,
    VersionQuality,
    WindowClosed,
    WindowEstimated,
)
from headrace.events.ops import DeploymentTraffic, HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import (
    AliasMoved,
    CardWritten,
    GateResult,
    RolledBack,
    RolloutAdvanced,
    RolloutStarted,
    Route,
    RouteChanged,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, LossChange, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.registry import CANARY, version_of
from headrace_console.app import wire

DAY = 86_400.0
# The names in the addresses of the pages.
FINDING, ALERT = "f1", "a1"
DELAY = Deployment(
    "delay", unit="flight", inputs=[Number("miles")], label=Binary("late", horizon="24h"), monitoring=[LossChange()],
    fallback=[prior(0.26)],
)  # fmt: skip
PLAIN = Deployment("plain", unit="thing", inputs=[Number("x")])
PROJECT = compile_project(Project("flights", [DELAY, PLAIN]))
PAGES = (
    "/", "/deployments/delay", "/deployments/plain", "/deployments/delay/versions/2", f"/deployments/delay/findings/{FINDING}",
    "/deployments/delay/monitoring", "/deployments/plain/monitoring", "/deployments/delay/timeline",
    "/deployments/delay/decisions", "/alerts", "/dead-letters", "/features", "/services",
    "/records/registry.facts/0/0", "/deployments/delay/nothing",
)  # fmt: skip
CARD = "# delay v2\n\nTrained on **101,600** rows.\n\n| metric | v2 |\n|---|---|\n| auc | .784 |\n\n<script>alert(1)</script>\n"
EVIDENCE = FindingEvidence(
    "registry.facts.v1/0/0", 1_780_000_000.0, ("r1", "r2"), Segment("carrier", "MQ", 300, 0.2, 0.9, 0.4, 0.7),
    (Moved("miles", "psi", 0.31), Moved("weather.temp", "null_share", 0.4, 0.01)), ("code: c1 -> c2",), ("ranking",),
)  # fmt: skip
GATES = (GateResult("auc", "PASS", 0.784, 0.76, "m2"), GateResult("golden", "UNMEASURED", None, None, "m2", "no rows"))


def monitored(loss: float) -> dict[str, Any]:
    """What the monitor adds to a window: charts, a column that moved, an estimate with what it was."""
    charts = tuple(
        ChartPoint(chart, 2, value, 0.01, 90, segment, expected, 0.01, statistic, 1e4, 0.04, 3)
        for chart, segment, value, expected, statistic in (
            ("ranking", "", 1.2 - loss, 0.76, 10 ** (40 * (loss - 0.44))), ("level", "", loss, 0.44, 2.0),
            ("level", "carrier=MQ", loss + 0.1, 0.5, 30.0),
        )
    )  # fmt: skip
    columns = (ColumnSeen("miles", 2, 100, 0.02, 0.31, 0.2, 9.0, 1e-5, True, 0.01),)
    return {
        "charts": charts,
        "columns": columns,
        "estimates": (Estimated(2, "log_loss", 0.44, 0.4, 0.48, "cbpe", loss),),
    }


class Scene:
    """Appends what an installation would have written."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = SystemClock()
        self.log = MemoryLog(self.clock)
        self.settings = Settings(console_port=0, **settings)
        self.topics = Topics.load()
        self.codec = Codec(self.topics)
        self.folder = folder
        self.url = ""
        self._number = 0

    def append(self, base: str, key: str, event: Any, cause: str | None = None) -> str:
        """Append an event; returns its id."""
        self._number += 1
        envelope = Envelope(f"e{self._number}", "", "test", self.clock.now_s(), causation_id=cause)
        self.log.append(out(self.topics.name(base), key, event, envelope))
        return envelope.id

    def facts(self, *facts: Any) -> None:
        """Facts of the registry."""
        for fact in facts:
            self.append("registry.facts", fact.deployment, fact)

    async def set_up(self, *, has_rollout: bool = True) -> None:
        """An installation that has been alive for a while."""
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        self.append("project.definitions", "flights", ProjectApplied("flights", digest_of(PROJECT), "", PROJECT, 0.0))
        now_s = self.clock.now_s()
        for number in (1, 2, 3):
            self.facts(
                version_of(
                    number,
                    deployment="delay",
                    model="delay",
                    gates=GATES,
                    metrics={"auc": 0.784},
                    trained_rows=101_600,
                    registered_at_s=now_s - DAY * (10 - number),
                    slices={"carrier=MQ": {"rows": 2100.0, "auc": 0.66}},
                )
            )
        self.facts(CardWritten("delay", 2, CARD), AliasMoved("delay", "champion", 2, 1, "passed its gates"))
        self.facts(AliasMoved("delay", "previous", 1, None, "v2 is champion"))
        self.facts(RouteChanged("delay", Route("delay", {2: 1.0}, "s", 1, champion=2, previous=1)))
        for index in range(30):
            self.window(now_s - (30 - index) * 3600.0, 0.44 + 0.002 * (index % 5))
        if has_rollout:
            self.begin_rollout(now_s)
        for service in ("gateway", "inference", "registry", "monitor", "feature", "pipeline", "trainer"):
            self.report(service)

    def window(self, to_s: float, loss: float) -> None:
        """An evaluation window of `delay` closes."""
        quality = VersionQuality(2, "champion", 90, loss, 0.43, 0.78, 0.26, loss_error=0.01, over_prior=loss - 0.57)
        window = WindowClosed("delay", to_s - 3600.0, to_s, 100, 90, 0.25, "PASS", (quality,), drift_statistic=loss)
        self.append("monitor.windows", "delay", msgspec.structs.replace(window, **monitored(loss)))

    def monitor(self) -> None:
        """A window whose labels are still to come is estimated, and the ledger of pages is reported."""
        now_s = self.clock.now_s()
        estimates = (Estimated(2, "log_loss", 0.45, 0.41, 0.49, "cbpe"),)
        self.append("monitor.windows", "delay", WindowEstimated("delay", now_s - 3600.0, now_s, 100, 4, estimates))
        ledger = BudgetReported(
            "delay", 1.0, 30 * DAY, now_s, 4, 90 * DAY, 1, 0.0, 2, now_s - 90 * DAY, 0.4, 0.9, (FINDING,)
        )
        self.append("monitor.windows", "delay", ledger)

    def switch_and_arm(self) -> None:
        """What the switch to version 2 brought, and an A/A arm that errs more often than is stated."""
        now_s = self.clock.now_s()
        self.append(
            "monitor.windows",
            "delay",
            EfficacyReported("delay", 2, 1, now_s - 6 * DAY, now_s, 6, 540, 0.006, -0.002, 0.014),
        )
        arm = AuditReported(
            "delay", 0.1, now_s - 90 * DAY, now_s, 20, 6, 0.3, 0.119, 0.543, 0.05, 0, 0.0, 0.0, 0.168, 0.00625
        )
        self.append("monitor.windows", "delay", arm)

    def back_test(self) -> None:
        """A back-test of three policies is published; the last one never retrains."""
        to_s = self.clock.now_s()
        from_s = to_s - 60 * DAY
        at_s = tuple(from_s + 60 * DAY * (n + 1) / 120 for n in range(120))

        def policy(name: str, gain: float, days: tuple[int, ...]) -> BacktestPolicy:
            curve = tuple(gain * max(0.0, (n - 40) / 79) for n in range(120))
            answered = tuple(from_s + day * DAY for day in days)
            bounds = (gain - 0.01, gain + 0.01) if days else (None, None)
            return BacktestPolicy(name, 3, 1, 1, 2.0, len(days), answered, gain, *bounds, 90.0, 87.4, 61.0, curve)

        policies = policy("as declared", 0.021, (20, 31)), policy("calm", -0.012, (22,)), policy("deaf", 0.0, ())
        report = BacktestReported(
            "delay", from_s, to_s, 6000, 5900, "log-loss", 0.452, 0.018, 60, policies, at_s, ("flip=.3@2026-10-20..3d",)
        )
        self.append("monitor.backtests", "delay", report)

    def begin_rollout(self, now_s: float) -> None:
        """A canary of v3 at its first share, with a verdict."""
        self.facts(
            RolloutStarted("delay", "r1", 3, "canary", "passed its gates", CANARY, 2, "trainer", now_s - 7200),
            RolloutAdvanced("delay", "r1", 3, "canary", 0.01, 0, now_s - 3600),
        )
        evidence = (
            Evidence("errors", "guardrail", "PASS", 0.0, 0.002, "0 of 812", 812, 9),
            Evidence("level", "label", "INCONCLUSIVE", -0.006, 0.01, "about 5 days to go", 377, 9),
        )
        verdict = VerdictGiven("delay", "r1", 3, 0, "PASS", "INCONCLUSIVE", now_s, 812, 812, 377, 9, evidence, "labels")
        self.append("monitor.verdicts", "delay", verdict)

    def advance(self, share: float, number: int) -> None:
        """The rollout goes to its next share."""
        self.facts(RolloutAdvanced("delay", "r1", 3, "canary", share, number, self.clock.now_s()))

    def open_finding(self) -> None:
        """The loss of the champion has risen."""
        now_s = self.clock.now_s()
        summary = "log-loss .685 (limit .52)"
        found = FindingOpened(
            FINDING,
            "delay",
            "drift",
            summary,
            now_s,
            2,
            "loss_change",
            0.685,
            0.52,
            now_s - 3600,
            now_s,
            evidence=EVIDENCE,
        )
        self.append("monitor.findings", "delay", found)

    def resolve_finding(self) -> None:
        """The figure is back."""
        resolved = FindingResolved(FINDING, "delay", "drift", "the loss is back at .45", self.clock.now_s())
        self.append("monitor.findings", "delay", resolved)

    def alert(self, status: str) -> None:
        """A page about `delay` fires, or is resolved."""
        now = format_instant(self.clock.now_s())
        labels = {"alertname": "RankingFell", "severity": "critical", "deployment": "delay"}
        ends = "" if status == "firing" else now
        changed = AlertChanged(status, labels, {"summary": "ranking fell: AUC .71, expected .77"}, now, ends, ALERT)
        self.append("alerts", ALERT, changed)

    def report(self, service: str) -> None:
        """An instance reports."""
        traffic = (
            {"delay": DeploymentTraffic({"served": 600, "prior": 6}, {"2": 594, "3": 6})}
            if service == "inference"
            else {}
        )
        fields: dict[str, Any] = {
            "started_s": self.clock.now_s() - 1.0,
            "state_bytes": {"answers": 10},
            "state_limits": {"answers": 100},
        }
        self.append("ops.health", f"{service}/1", HealthReported(service, "1", True, traffic=traffic, **fields))

    def give_keys(self, **roles: str) -> None:
        """Persons with a role, each with his name as the key."""
        lines = [
            f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\nrole = "{role}"\n'
            for name, role in roles.items()
        ]
        path = self.folder / "keys.toml"
        path.write_text("\n".join(lines))
        self.settings = msgspec.structs.replace(self.settings, api_keys_file=str(path))

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[list[Any]]:
        """Takes commands as the registry does; gives those that came."""
        taken: list[Any] = []
        reader = await self.log.reader(await self.log.partitions(self.topics.name("registry.commands")), "end")

        async def answer() -> None:
            while True:
                for record in await reader.fetch(0.05):
                    found = self.codec.decode(record)
                    taken.append(found.event)
                    back = RolledBack("delay", 2, 1, found.event.reason, found.event.by)
                    self.append("registry.facts", "delay", back, cause=found.envelope.id)

        task = asyncio.create_task(answer())
        yield taken
        task.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Event]:
        """The console on a real socket at `url`; it ends when the event is set."""
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        health = Health("console", "console-1", failures={})
        service = wire(
            self.log, self.codec, self.topics, projects, health, self.clock, self.settings, self.folder / "h.sqlite"
        )
        stop, is_over = asyncio.Event(), asyncio.Event()
        console, reading = asyncio.create_task(service.run(stop)), asyncio.create_task(projects.run(is_over))
        self.url = f"http://127.0.0.1:{service.port}"
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await console
                is_over.set()
                await reading
