"""The process `forwarder`: one `Forwarder` per receiver that the settings name, over one view of the silences."""

from collections.abc import Sequence

from headrace.hosting.runtime import Runnable
from headrace.hosting.silences import taken
from headrace.log.codec import Message
from headrace.log.views import View
from headrace.project import service
from headrace_cli.forwarding.forwarder import Forwarder, Source
from headrace_cli.forwarding.receivers import required_receivers

NAME = "forwarder"


async def build(context: service.Context) -> Sequence[Runnable]:
    """The parts of the process. Raises `Misconfigured` where no receiver is set."""
    receivers = required_receivers(context.settings)
    silences: dict = {}

    def take(message: Message) -> None:
        record, key = message.record, (message.record.key or b"").decode("utf-8", "replace")
        left = taken(silences, message.event, key, record.timestamp_ms / 1000)
        silences.clear()
        silences.update(left)

    view = View(context.log, context.codec, [context.topics.name("alerts.silences")], take)
    await view.start()
    source = Source(context.log, context.codec, context.topics, context.clock, context.health, lambda: silences)
    names = [receiver.name for receiver in receivers if receiver.kind != "watchdog"]
    return [view, *(Forwarder(source, receiver, others=names) for receiver in receivers)]


def main() -> int:
    """Run until a signal; returns the exit code."""
    return service.main(NAME, build)
