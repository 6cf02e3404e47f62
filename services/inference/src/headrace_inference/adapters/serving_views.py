"""What all shards of an instance share and answer from: definitions, routes, features, loaded versions, load.

No method waits: all of it is followed in the background. (Tiles that are kept on disk are read from there.)
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.failures import Failure
from headrace.events.registry import VersionRegistered
from headrace.features.rows import entities_of, look_up_many
from headrace.features.store import OnlineStore
from headrace.hosting.health import Health
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.load_shedding import LoadShedding
from headrace_inference.adapters.model_cache import ModelCache
from headrace_inference.adapters.registry_view import RegistryView
from headrace_inference.core.batch import Admitted, DeploymentState, Features, Name, shadows_of
from headrace_inference.core.overload import Waited
from headrace_inference.core.rows import Rows

Ends = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
# Row makers are kept for deployments that are asked. One of a deployment that is gone costs little, many of them would not.
_MOST_ROWS = 1_000


@dataclass(slots=True)
class ServingViews:
    """The views of one instance. `ends`: the ends of partitions of the log, which has to be asked for them."""

    definitions: Definitions
    registry: RegistryView
    models: ModelCache
    load: LoadShedding
    store: OnlineStore
    topics: Topics
    clock: Clock
    health: Health
    ends: Ends
    _rows: dict[str, Rows] = field(default_factory=dict)

    def note_waits(self, waits: Mapping[str, Waited]) -> dict[str, int]:
        """Take in how long requests have waited; returns the level of load of each of these deployments that exists."""
        known = {name: waited for name, waited in waits.items() if self.definitions.deployment(name) is not None}
        return {name: self.load.note(name, waited) for name, waited in known.items()}

    def states(self, names: Iterable[str]) -> dict[str, DeploymentState]:
        """The deployments of these names that exist, as they are now."""
        found = {name: self.definitions.deployment(name) for name in names}
        return {name: self._state(name, *known) for name, known in found.items() if known is not None}

    def features(self, admitted: Admitted) -> dict[str, Features]:
        """The view features of a batch, all those of a deployment at once; deployments without any are left out."""
        found: dict[str, Features] = {}
        for name, cases in admitted.by_deployment.items():
            state = cases[0].chain.state if cases else None
            if state is None or not state.definition.features:
                continue
            entities = [entities_of(state.definition, case.request.event.inputs) for case in cases]
            at_s = [case.request.envelope.time_s for case in cases]
            values = look_up_many(self.store, state.definition, entities, at_s)
            named = [{view: entity for view, entity in own.items() if entity is not None} for own in entities]
            newest_s = {source: self.store.newest_s(source) for source in state.rows.timed_sources}
            found[name] = Features(values, named, newest_s)
        return found

    def versions(self, admitted: Admitted, asked: Mapping[Name, bool]) -> dict[Name, VersionRegistered | Failure]:
        """What each version was registered with, or why it cannot be asked now. `asked`: by name, whether it only scores along."""
        plans = {chain.deployment: chain.state.definition.breaker for chain in admitted.chains}
        found: dict[Name, VersionRegistered | Failure] = {}
        for name, is_shadow in asked.items():
            model, failure = self.models.find(name), self.models.why_not(name, plans[name[0]], as_shadow=is_shadow)
            if failure is not None:
                found[name] = failure
            elif model is not None:
                found[name] = model.registered
        return found

    def _state(self, name: str, project: ProjectDefinition, deployment: DeploymentDefinition) -> DeploymentState:
        route, offset = self.registry.route(name)
        rows, level = self._rows_of(project, deployment), self.load.level(name)
        return DeploymentState(project, deployment, route, offset, rows, self._applied(rows), level, shadows_of(route))

    def _rows_of(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Rows:
        known = self._rows.get(deployment.name)
        if known is None or known.deployment is not deployment:
            if len(self._rows) >= _MOST_ROWS:
                self._rows.clear()
            known = self._rows[deployment.name] = Rows(project, deployment)
        return known

    def _applied(self, rows: Rows) -> dict[str, int]:
        """How far the sources of a deployment's features are contained in them. A source with a view that is not built yet is left out."""
        if not rows.sources:
            return {}
        unbuilt = {source for view, source in rows.views.items() if not self.store.is_built(view)}
        topics = {self.topics.of_source(source) for source in rows.sources - unbuilt}
        return {p: n for p, n in self.store.applied.items() if topics and p.rpartition("/")[0] in topics}
