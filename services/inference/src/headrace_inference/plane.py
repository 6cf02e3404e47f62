"""What all shards of an instance share, and what is known of a deployment while a batch is in the making."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from headrace.clock import Clock
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import Route
from headrace.features.store import OnlineStore
from headrace.hosting.health import Health
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.loads import Loads
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.ladder import Step, steps_for
from headrace_inference.core.routing import Assigned
from headrace_inference.core.rows import Rows

Ends = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
# Row makers are kept for deployments that are asked; one of a deployment that is gone costs little, many of them would not.
_MOST_ROWS = 1_000


@dataclass(slots=True)
class Plane:
    """What all shards of an instance share: the views, the shelf, and rows per definition."""

    definitions: Definitions
    control: Control
    shelf: Shelf
    loads: Loads
    store: OnlineStore
    topics: Topics
    clock: Clock
    health: Health
    ends: Ends
    _rows: dict[str, Rows] = field(default_factory=dict)

    def rows(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Rows:
        """The row maker of a deployment as it is defined now."""
        known = self._rows.get(deployment.name)
        if known is None or known.deployment is not deployment:
            if len(self._rows) >= _MOST_ROWS:
                self._rows.clear()
            known = self._rows[deployment.name] = Rows(project, deployment)
        return known

    def about(self, name: str, project: ProjectDefinition, deployment: DeploymentDefinition) -> "About":
        """What a batch needs to know of a deployment, as it is now."""
        route, offset = self.control.route(name)
        rows = self.rows(project, deployment)
        return About(project, deployment, route, offset, rows, self._applied(rows), self.loads.level(name))

    def _applied(self, rows: Rows) -> dict[str, int]:
        """How far the sources of a deployment's features are contained in them; a source with a view that is not built yet is left out."""
        unbuilt = {source for view, source in rows.views.items() if not self.store.is_built(view)}
        topics = {self.topics.of_source(source) for source in rows.sources - unbuilt}
        return {p: n for p, n in self.store.applied.items() if topics and p.rpartition("/")[0] in topics}


class About(msgspec.Struct):
    """What all requests of a batch to one deployment share. `steps`: the ladder per assigned version, one object each.

    `level`: how much load must be shed.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    route: Route | None
    route_offset: int
    rows: Rows
    applied: dict[str, int]
    level: int
    steps: dict[Assigned, tuple[Step, ...]] = {}

    def steps_of(self, assigned: Assigned) -> tuple[Step, ...]:
        """The ladder of a request that was given to `assigned`."""
        found = self.steps.get(assigned)
        if found is None:
            found = self.steps[assigned] = steps_for(self.deployment.ladder, self.route, assigned)
        return found
