"""The views of what services report: `ops.health` (not transactional) and `ops.stops`."""

from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace_monitor.core.liveness import Liveness


def service_views(log: Log, codec: Codec, topics: Topics, liveness: Liveness) -> tuple[View, View]:
    """Two views that keep `liveness` up to date; both must be started and followed."""

    def take(message: Message) -> None:
        liveness.on_record(message.event, message.record)

    health = View(log, codec, [topics.name("ops.health")], take, committed=False)
    return health, View(log, codec, [topics.name("ops.stops")], take)
