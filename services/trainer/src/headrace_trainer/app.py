"""The one place where the trainer is wired."""

from collections.abc import Sequence

from headrace.hosting.group import ShardGroup
from headrace.hosting.runtime import Runnable
from headrace.project.service import Context
from headrace_trainer.adapters.workers import Workers
from headrace_trainer.settings import TICK_S
from headrace_trainer.shell import SERVICE, TrainerShard


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service. The workers outlive its shards: a rebalance does not touch the runs.

    Raises `Misconfigured` for a folder of runs that cannot be used.
    """
    requests = context.topics.name("training.requests")
    workers = Workers(context.settings, context.health)
    host = ShardGroup(
        context.log,
        context.codec,
        context.topics,
        service=SERVICE,
        inputs=[requests],
        make=lambda _: TrainerShard(context, workers),
        health=context.health,
        lock=requests,
        tick_s=TICK_S,
        watchdog_s=context.settings.watchdog_s,
    )
    return [host]
