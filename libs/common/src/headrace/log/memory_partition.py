"""A partition of the log in memory: records, their transactions, and the last stable offset."""

from dataclasses import dataclass, field

from headrace.log.port import Record

OPEN, COMMITTED, ABORTED = "open", "committed", "aborted"


@dataclass(slots=True)
class Transaction:
    """The state of a transaction: open, committed or aborted."""

    state: str = OPEN


@dataclass(slots=True)
class Entry:
    """A record, or a control marker (record None). `transaction`: None for plain writes."""

    offset: int
    record: Record | None
    transaction: Transaction | None = None

    @property
    def is_visible(self) -> bool:
        return self.record is not None and (self.transaction is None or self.transaction.state == COMMITTED)

    @property
    def is_open(self) -> bool:
        return self.transaction is not None and self.transaction.state == OPEN


@dataclass(slots=True)
class Partition:
    """Records and control records in the order of their offsets."""

    entries: list[Entry] = field(default_factory=list)
    end: int = 0

    def append(self, record: Record | None, transaction: Transaction | None = None) -> int:
        offset = self.end
        if record is not None:
            record = Record(
                record.topic, record.partition, offset, record.key, record.value, record.headers, record.timestamp_ms
            )
        self.entries.append(Entry(offset, record, transaction))
        self.end += 1
        return offset

    @property
    def stable_end(self) -> int:
        return next((entry.offset for entry in self.entries if entry.is_open), self.end)
