"""Everything that the console knows, fed record by record, and which subjects changed.

A subject is `deployment/NAME`, `windows/NAME`, `traffic/NAME`, `timeline/NAME`, `alerts`, `letters`, `reports` or `projects`. Each has a
count of its changes, so that a document is computed again only when something that it rests on has changed.
"""

from collections.abc import Mapping

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.monitor import WindowClosed
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.evidence.timeline import Timeline
from headrace.log.codec import Message
from headrace_console.core.alerts import Alarms
from headrace_console.core.dead_letters import Letters
from headrace_console.core.findings import Findings
from headrace_console.core.monitored import Measured, Monitored
from headrace_console.core.releases import Releases
from headrace_console.core.reports import Reports
from headrace_console.core.seen import Seen
from headrace_console.core.traffic import Traffic
from headrace_console.core.trainings import Trainings
from headrace_console.core.windows import Windows

# The topics that are folded here, without those of windows and health, by the part that takes them.
CONTROL = (
    "registry.facts", "registry.commands", "monitor.findings", "monitor.backtests", "training.requests", "training.facts", "inference.facts",
    "alerts", "alerts.silences", "ops.stops",
)  # fmt: skip
MEASURED = ("monitor.windows", "monitor.verdicts")
HEALTH = "ops.health"
ANYTHING = "anything"
# Of each deployment's history.
MOST_EPISODES, MOST_STEPS = 40, 240


class World:
    """The folds of all topics. `projects`: the applied ones by name; `refused`: those that are ignored, and why.
    `namespace`: of the topics, which no place on a page shows.
    """

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace
        self.projects: Mapping[str, ProjectApplied] = {}
        self.refused: Mapping[str, str] = {}
        self.deployments: dict[str, tuple[ProjectDefinition, DeploymentDefinition]] = {}
        self.releases, self.findings, self.windows = Releases(), Findings(), Windows()
        self.trainings, self.alarms, self.letters = Trainings(), Alarms(), Letters()
        self.reports, self.traffic, self.monitored = Reports(), Traffic(), Monitored()
        self.timeline = Timeline(MOST_EPISODES, MOST_STEPS)
        self.changes: dict[str, int] = {}
        self.handled = 0

    def set_projects(self, applied: Mapping[str, ProjectApplied], refused: Mapping[str, str]) -> None:
        """Take what is applied now."""
        self.projects, self.refused = dict(applied), dict(refused)
        definitions = [applied[name].definition for name in sorted(applied)]
        self.deployments = {found.name: (project, found) for project in definitions for found in project.deployments}
        self.touch("projects")
        for name in self.deployments:
            self.touch(f"deployment/{name}")

    def definition(self, deployment: str) -> DeploymentDefinition | None:
        """A deployment as it is declared; None where nobody declares it any more."""
        found = self.deployments.get(deployment)
        return None if found is None else found[1]

    def names(self) -> list[str]:
        """All deployments that are declared, or that have a route."""
        routed = [name for name, entry in self.releases.fold.state.entries.items() if entry.route is not None]
        return sorted({*self.deployments, *routed})

    def touch(self, subject: str) -> None:
        """Note that a subject changed."""
        self.changes[subject] = self.changes.get(subject, 0) + 1
        self.changes[ANYTHING] = self.changes.get(ANYTHING, 0) + 1

    def count(self, *subjects: str) -> tuple[int, ...]:
        """How often each subject has changed."""
        return tuple(self.changes.get(subject, 0) for subject in subjects)

    def take(self, seen: Seen) -> None:
        """Take a record."""
        self.handled += 1
        match seen.topic:
            case "ops.health":
                self._take_report(seen)
            case "alerts" | "alerts.silences":
                self._take_alert(seen)
            case "ops.stops":
                self.letters.take_stop(seen)
                self.touch("letters")
            case "monitor.windows" if isinstance(seen.event, Measured):
                if isinstance(seen.event, WindowClosed):
                    self.windows.take(seen.event)
                self.monitored.take(seen.event)
                self.touch(f"windows/{seen.event.deployment}")
            case "monitor.backtests":
                self.monitored.take_backtest(seen.key, seen.event)
                self.touch(f"windows/{seen.key}")
            case "monitor.findings" if seen.event is not None:
                self.touch(f"deployment/{self.findings.take(seen)}")
            case "training.requests" | "training.facts":
                self.touch(f"deployment/{self.trainings.take(seen)}")
            case "registry.facts" | "monitor.verdicts":
                self.touch(f"deployment/{self.releases.take(seen)}")

    def take_cause(self, message: Message) -> None:
        """Take a record that may be a step of a deployment's history."""
        name = self.timeline.take(message)
        if name is not None:
            self.touch(f"timeline/{name}")

    def advance(self, now_s: float) -> None:
        """Let time pass: what nobody reports any more is no longer known."""
        if self.traffic.advance(now_s):
            self._touch_traffic()

    def _take_alert(self, seen: Seen) -> None:
        before = self.alarms.alerts.get(seen.key)
        self.alarms.take(seen)
        after = self.alarms.alerts.get(seen.key)
        self.touch("alerts")
        for found in (before, after):
            if found is not None and (name := found[0].labels.get("deployment")):
                self.touch(f"deployment/{name}")

    def _take_report(self, seen: Seen) -> None:
        if not isinstance(seen.event, HealthReported):
            return
        before = self.reports.take(seen.event, seen.appended_s)
        self.touch("reports")
        if self.traffic.take(seen.event, seen.appended_s):
            self._touch_traffic()
        if seen.event.service == "inference" and (before is None or before.degraded != seen.event.degraded):
            for name in {*seen.event.degraded, *(before.degraded if before is not None else ())}:
                self.touch(f"deployment/{name}")

    def _touch_traffic(self) -> None:
        for name in self.traffic.names():
            self.touch(f"traffic/{name}")
