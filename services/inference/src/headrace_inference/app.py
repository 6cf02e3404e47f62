"""The one wiring place."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from headrace.clock import Clock
from headrace.events.failures import BreakerOpen, NotLoaded
from headrace.features.store import OnlineStore, Tiles
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.runs import runs_folder
from headrace.hosting.runtime import Runnable
from headrace.log.codec import Codec
from headrace.log.port import Log, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.applied import Projects
from headrace.project.service import Context
from headrace_inference.adapters.crash_log import CrashLog
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.disk_tiles import DiskTiles
from headrace_inference.adapters.fact_publisher import FactPublisher
from headrace_inference.adapters.housekeeping import Housekeeping
from headrace_inference.adapters.load_checks import LoadChecks
from headrace_inference.adapters.load_shedding import LoadShedding
from headrace_inference.adapters.model_cache import ModelCache
from headrace_inference.adapters.model_loader import MEMORY_BYTES, LoadCheck, ModelLoader, NoCheck
from headrace_inference.adapters.progress import Progress
from headrace_inference.adapters.registry_view import RegistryView
from headrace_inference.adapters.serving_views import ServingViews
from headrace_inference.core.batch import Name
from headrace_inference.core.loading import degraded
from headrace_inference.core.proof import asked_of
from headrace_inference.settings import LINGER_S, MAX_BATCH
from headrace_inference.shell import InferenceShard


async def build(context: Context) -> Sequence[Runnable]:
    """Everything that runs, ready to be run: views at their ends, wanted versions loaded, as far as that goes in a while."""
    tiles = DiskTiles() if context.settings.online_store == "disk" else None
    runs = runs_folder(context.settings)
    return await wire(
        context.log,
        context.codec,
        context.topics,
        context.projects,
        context.health,
        context.clock,
        tiles,
        model_memory_bytes=context.settings.model_memory_bytes,
        load_check=LoadChecks(),
        crash_log=CrashLog(runs.with_name(f"{runs.name}.{context.name}")),
    )


async def wire(
    log: Log,
    codec: Codec,
    topics: Topics,
    projects: Projects,
    health: Health,
    clock: Clock,
    tiles: Tiles | None = None,
    *,
    model_memory_bytes: int = MEMORY_BYTES,
    load_check: LoadCheck | None = None,
    crash_log: CrashLog | None = None,
) -> Sequence[Runnable]:
    """The parts of the service on any log; `projects` must have been started. `tiles`: where they are kept, memory for None.

    `load_check`: how versions are checked before they are loaded here; None trusts them all.
    """
    parts = _Parts(log, codec, topics, projects, health, clock)
    features, views, facts = await parts.views(tiles)
    loader = ModelLoader(
        log,
        topics,
        views.registry,
        views.models,
        health,
        clock,
        load_check=load_check or NoCheck(),
        first_rows=lambda registered: asked_of(views.definitions.newest(registered.deployment), registered),
        publish=facts.add,
        limit_bytes=model_memory_bytes,
        crash_log=crash_log,
    )
    await loader.begin()
    progress = Progress(views.store, projects, topics, health)
    progress.report()
    health.clear("views")

    def report() -> None:
        loader.look()
        health.degraded = degraded(views.registry.routes, partial(_why_not, views, loader))

    report()
    housekeeping = Housekeeping(facts, views.models, views.load, report)
    return [features, views.registry.view, loader, progress, housekeeping, parts.host(views)]


@dataclass(frozen=True)
class _Parts:
    """What every part is made with."""

    log: Log
    codec: Codec
    topics: Topics
    projects: Projects
    health: Health
    clock: Clock

    async def views(self, tiles: Tiles | None) -> tuple[View, ServingViews, FactPublisher]:
        """The view of the features, all that answers are given from, and where facts of it are published. Waits for the views' ends."""
        health, clock, projects = self.health, self.clock, self.projects
        store, registry = OnlineStore(tiles), RegistryView(self.log, self.codec, self.topics)
        facts = FactPublisher(self.log, self.topics, health, clock)
        models, load = ModelCache(clock, health, facts.add), LoadShedding(clock, health, facts.add)
        store.define(projects.definitions)
        projects.listen(lambda _: store.define(projects.definitions))
        features = View(self.log, self.codec, [self.topics.name("features.online")], store.apply)
        health.fail("views", "reading features, routes and models")
        await features.start()
        await registry.view.start()
        definitions = Definitions(projects, store)
        return (
            features,
            ServingViews(definitions, registry, models, load, store, self.topics, clock, health, self.ends),
            facts,
        )

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends of partitions, as the log has them now."""
        return await self.log.end_offsets(partitions)

    def host(self, views: ServingViews) -> ShardGroup:
        """Runs the shards."""
        return ShardGroup(
            self.log,
            self.codec,
            self.topics,
            service="inference",
            inputs=[self.topics.name("inference.requests")],
            make=lambda number: InferenceShard(views, number),
            health=self.health,
            max_batch=MAX_BATCH,
            linger_s=LINGER_S,
        )


def _why_not(views: ServingViews, loader: ModelLoader, name: Name) -> str | None:
    """Why a version cannot answer at all, None when it can, or is only busy."""
    found = views.definitions.newest(name[0])
    if found is None:
        return None
    match views.models.why_not(name, found[1].breaker):
        case NotLoaded(reason):
            return loader.why_not(name) or reason
        case BreakerOpen(reason):
            return reason
        case _:
            return None
