"""A world with readable values, for the tests of the core: records are taken one by one, as they would be read."""

from typing import Any

from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.monitor import FindingOpened, FindingResolved, VersionQuality, WindowClosed
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import AliasMoved, Route, RouteChanged
from headrace.hosting.alerts import Alarm, fire, resolve
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_console.core import catalogue
from headrace_console.core.now import Table
from headrace_console.core.seen import Seen
from headrace_console.core.world import World

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
LABEL = Binary("late", horizon="24h")


def project(*deployments: Deployment) -> ProjectDefinition:
    """A project of these deployments; one with a label, named `d`, when none is given."""
    plain = Deployment("d", unit="flight", inputs=[Number("miles")], label=LABEL, fallback=[prior(0.26)])
    return compile_project(Project("p", list(deployments) or [plain]))


class Known:
    """A world, and what was appended so far. `read_s`: until when each group of topics was read."""

    def __init__(self, *deployments: Deployment) -> None:
        self.world, self.table = World(), Table()
        self.read_s: dict[str, float | None] = dict.fromkeys(catalogue.GROUPS, NOW_S)
        self._offset = 0
        self.apply(project(*deployments))

    def apply(self, *definitions: ProjectDefinition) -> "Known":
        applied = {found.name: ProjectApplied(found.name, digest_of(found), "", found, 0.0) for found in definitions}
        self.world.set_projects(applied, {})
        return self

    def take(self, topic: str, event: Any, *, key: str = "", ident: str = "", at_s: float = NOW_S) -> "Known":
        """Take one record."""
        self._offset += 1
        place = f"{topic}/0/{self._offset}"
        self.world.take(Seen(topic, place, key, event, ident or place, "", at_s, at_s))
        return self

    def facts(self, *facts: Any, at_s: float = NOW_S) -> "Known":
        for fact in facts:
            self.take("registry.facts", fact, at_s=at_s)
        return self

    def champion(self, version: int = 1, deployment: str = "d") -> "Known":
        """Version after version was registered, and the last one is champion."""
        for number in range(1, version + 1):
            self.facts(version_of(number, deployment=deployment, command_id=f"{deployment}{number}"))
        route = Route(deployment, {version: 1.0}, "s", version, champion=version)
        if version > 1:
            self.facts(AliasMoved(deployment, "previous", version - 1, None, "r"))
        return self.facts(AliasMoved(deployment, "champion", version, None, "r"), RouteChanged(deployment, route))

    def window(self, number: int = 0, deployment: str = "d", *, labelled: int = 100, **changes: Any) -> "Known":
        """A closed window of a day, in which the champion did well."""
        quality = VersionQuality(1, "champion", labelled, 0.5, 0.49, 0.78, 0.3, over_prior=-0.1, loss_error=0.01)
        fields: dict[str, Any] = {"verdict": "PASS", "qualities": (quality,)} | changes
        from_s = number * DAY_S
        closed = WindowClosed(deployment, from_s, from_s + DAY_S, 110, labelled, 0.3, **fields)
        return self.take("monitor.windows", closed)

    def report(self, *services: str, at_s: float = NOW_S, ready: bool = True, **changes: Any) -> "Known":
        for service in services:
            found = HealthReported(service, f"{service}-1", ready, started_s=1.0, **changes)
            self.take("ops.health", found, key=f"{service}/{service}-1", at_s=at_s)
        return self

    def finding(self, ident: str = "f1", kind: str = "drift", **changes: Any) -> "Known":
        found = FindingOpened(ident, "d", kind, "log-loss .69 against .52", 5 * DAY_S, **changes)
        return self.take("monitor.findings", found)

    def resolved(self, ident: str = "f1", kind: str = "drift") -> "Known":
        return self.take("monitor.findings", FindingResolved(ident, "d", kind, "it is back", 6 * DAY_S))

    def alert(
        self, name: str = "BreakerOpen", severity: str = "critical", *, is_over: bool = False, **about: str
    ) -> "Known":
        fired: AlertChanged = fire(
            Alarm(name, about or {"deployment": "d"}, severity, f"{name} it is", "headrace status"), NOW_S
        )
        return self.take("alerts", resolve(fired, NOW_S) if is_over else fired, key=fired.fingerprint)

    def well(self) -> "Known":
        """All that must be there for all to be well."""
        return self.champion().window().report("monitor", "registry", "inference")

    def now(self, now_s: float = NOW_S) -> dict[str, Any]:
        """The first page."""
        return self.table.document(self.world, now_s, self.read_s)

    def document(self, key: str, now_s: float = NOW_S) -> Any:
        """Any other document."""
        found = catalogue.read_key(key)
        assert found is not None, key
        return catalogue.compose(self.world, found, now_s, {})[0]
