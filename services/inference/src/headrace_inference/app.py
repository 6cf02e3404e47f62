"""The one wiring place."""

from collections.abc import Sequence
from functools import partial

from headrace.clock import Clock
from headrace.events.failures import NotLoaded
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
from headrace_inference.adapters.blackbox import Blackbox
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.disk_tiles import DiskTiles
from headrace_inference.adapters.keeper import Fact, Keeper
from headrace_inference.adapters.loads import Loads
from headrace_inference.adapters.progress import Progress
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.adapters.trials import Trials
from headrace_inference.adapters.warmer import MEMORY_BYTES, Trial, Trust, Warmer
from headrace_inference.core.proof import asked_of
from headrace_inference.core.warming import Name, degraded
from headrace_inference.plane import Plane
from headrace_inference.settings import LINGER_S, MAX_BATCH
from headrace_inference.shell import InferenceShard


async def build(context: Context) -> Sequence[Runnable]:
    """Everything that runs, ready to be run: views at their ends, wanted versions warm, as far as that goes in a while."""
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
        trial=Trials(),
        blackbox=Blackbox(runs.with_name(f"{runs.name}.{context.name}")),
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
    trial: Trial | None = None,
    blackbox: Blackbox | None = None,
) -> Sequence[Runnable]:
    """The parts of the service on any log; `projects` must have been started. `tiles`: where they are kept, memory for None.

    `trial`: how versions are tried before they are loaded here; None trusts them all.
    """
    store, control = OnlineStore(tiles), Control(log, codec, topics)
    facts: list[Fact] = []
    shelf, loads = Shelf(clock, health, facts.append), Loads(clock, health, facts.append)
    store.define(projects.definitions)
    projects.listen(lambda _: store.define(projects.definitions))
    features = View(log, codec, [topics.name("features.online")], store.apply)
    health.fail("views", "reading features, routes and models")
    await features.start()
    await control.view.start()
    definitions = Definitions(projects, store)
    warmer = Warmer(
        log,
        topics,
        control,
        shelf,
        health,
        clock,
        trial=trial or Trust(),
        asks=lambda registered: asked_of(definitions.newest(registered.deployment), registered),
        tell=facts.append,
        limit_bytes=model_memory_bytes,
        blackbox=blackbox,
    )
    await warmer.begin()
    progress = Progress(store, projects, topics, health)
    progress.report()
    health.clear("views")

    async def ends(partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return await log.end_offsets(partitions)

    plane = Plane(definitions, control, shelf, loads, store, topics, clock, health, ends)
    host = ShardGroup(
        log,
        codec,
        topics,
        service="inference",
        inputs=[topics.name("inference.requests")],
        make=lambda number: InferenceShard(plane, number),
        health=health,
        max_batch=MAX_BATCH,
        linger_s=LINGER_S,
    )

    def report() -> None:
        warmer.look()
        health.degraded = degraded(control.routes, partial(_why_not, definitions, shelf, warmer))

    keeper = Keeper(log, topics, facts, shelf, loads, health, clock, report)
    report()
    return [features, control.view, warmer, progress, keeper, host]


def _why_not(definitions: Definitions, shelf: Shelf, warmer: Warmer, name: Name) -> str | None:
    """Why a version cannot answer at all, None when it can, or is only busy."""
    found = definitions.newest(name[0])
    if found is None:
        return None
    match shelf.why_not(name, found[1].breaker):
        case NotLoaded(reason):
            return warmer.why_not(name) or reason
        case _:
            return None
