"""The one place where the trainer is wired."""

from collections.abc import Sequence

from headrace.bus.runtime import Context, Runnable
from headrace.bus.shards import ShardHost
from headrace_trainer.settings import TICK_S
from headrace_trainer.shell import SERVICE, TrainerShard


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    requests = context.topics.name("training.requests")
    host = ShardHost(
        context.log,
        context.codec,
        context.topics,
        service=SERVICE,
        inputs=[requests],
        make=lambda _: TrainerShard(context),
        health=context.health,
        lock=requests,
        tick_s=TICK_S,
        watchdog_s=context.settings.watchdog_s,
    )
    return [host]
