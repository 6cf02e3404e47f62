"""The views of what services report, `ops.health` (not transactional) and `ops.stops`; and of silences."""

from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.silences import Silences


def service_views(log: Log, codec: Codec, topics: Topics, liveness: Liveness) -> tuple[View, View]:
    """Two views that keep `liveness` up to date; both must be started and followed."""

    def take(message: Message) -> None:
        liveness.on_record(message.event, message.record)

    health = View(log, codec, [topics.name("ops.health")], take, committed=False)
    return health, View(log, codec, [topics.name("ops.stops")], take)


def silences_view(log: Log, codec: Codec, topics: Topics, silences: Silences) -> View:
    """A view that keeps `silences` up to date; it must be started before alerts are written, and followed."""

    def take(message: Message) -> None:
        record = message.record
        silences.on_record(message.event, (record.key or b"").decode("utf-8", "replace"), record.timestamp_ms / 1000)

    return View(log, codec, [topics.name("alerts.silences")], take)
