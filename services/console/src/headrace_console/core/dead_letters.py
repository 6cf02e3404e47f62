"""Dead letters and stopped partitions: the newest `KEPT` letters of each service, and how many there were."""

from collections import deque
from collections.abc import Mapping

from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace_console.core.documents import DeadLetterRow, DeadLetters, Stop
from headrace_console.core.seen import Seen

KEPT = 50
_PREFIX = "__connect.errors."
_REASON_CHARS = 500


class Letters:
    """The dead letters of all services, and the stops."""

    def __init__(self) -> None:
        self._of: dict[str, deque[DeadLetterRow]] = {}
        self.counts: dict[str, int] = {}
        self.stops: dict[str, tuple[PartitionStopped, float]] = {}

    def take_letter(self, service: str, place: str, headers: Mapping[str, str], size_bytes: int, at_s: float) -> None:
        """Take a dead letter by its headers."""
        stands_for = headers.get("headrace.stands_for", "1")
        self.counts[service] = self.counts.get(service, 0) + (int(stands_for) if stands_for.isdigit() else 1)
        origin = "/".join(headers.get(f"{_PREFIX}{part}", "") for part in ("topic", "partition", "offset"))
        reason = headers.get(f"{_PREFIX}exception.message", "")[:_REASON_CHARS]
        size = headers.get("headrace.size_bytes", "")
        row = DeadLetterRow(service, at_s, origin, reason, int(size) if size.isdigit() else size_bytes, place)
        self._of.setdefault(service, deque(maxlen=KEPT)).append(row)

    def take_stop(self, seen: Seen) -> None:
        """Take a stop, a resumption, or its end."""
        match seen.event:
            case PartitionStopped():
                self.stops[seen.key] = (seen.event, seen.appended_s)
            case PartitionResumed() | None:
                self.stops.pop(seen.key, None)

    def document(self) -> DeadLetters:
        """The document `dead-letters`."""
        letters = {row.place: row for rows in self._of.values() for row in rows}
        return DeadLetters(letters, dict(self.counts), {key: stop_of(*found) for key, found in self.stops.items()})


def stop_of(stop: PartitionStopped, since_s: float) -> Stop:
    """A stop in the list, with the commands that end it."""
    commands = (f"headrace topic resume {stop.topic}", f"headrace topic skip {stop.topic}")
    return Stop(stop.service, f"{stop.topic}/{stop.partition}/{stop.offset}", stop.reason, since_s, commands)
