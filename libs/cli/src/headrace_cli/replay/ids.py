"""Ids that identify the row of a history, so that an interrupted replay finds on the log what it has sent.

`replay-PREFIX-NUMBER` is the request of a file's row (from 1), `replay-PREFIX-PARTITION.OFFSET` that of a recorded request;
with `/label` appended it is the outcome. The prefix is derived from the deployment, the history's digest and the name of the run.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.errors import Misconfigured
from headrace.log.envelope import derived_id
from headrace.log.port import Log, Record
from headrace.log.reading import Progress, pin_offsets, read_up_to
from headrace.log.topics import Topics

_OUTCOME = "/label"
_PREFIX_CHARS = 12


@dataclass(frozen=True)
class Ids:
    """The ids of one replay. `mapping`: a digest of how columns were read, which is the source of every record."""

    prefix: str
    mapping: str

    @staticmethod
    def of(deployment: str, digest: str, run: str, mapping: Iterable[str]) -> "Ids":
        """Ids from these parts; the same parts give the same ids."""
        prefix = derived_id("replay", deployment, digest, run)[:_PREFIX_CHARS]
        return Ids(f"replay-{prefix}-", f"headrace-replay/{derived_id(*mapping)[:_PREFIX_CHARS]}")

    def request(self, shard: int, number: int) -> str:
        """The id of a request.

        >>> Ids("replay-a-", "").request(0, 17), Ids("replay-a-", "").request(3, 17)
        ('replay-a-17', 'replay-a-2.17')
        """
        return f"{self.prefix}{number}" if shard == 0 else f"{self.prefix}{shard - 1}.{number}"

    def outcome(self, shard: int, number: int) -> str:
        """The id of its outcome."""
        return self.request(shard, number) + _OUTCOME

    def place(self, ident: str) -> tuple[int, int, bool] | None:
        """Shard and number of a row, and whether it is the outcome; None for any other id.

        >>> Ids("replay-a-", "").place("replay-a-2.17/label"), Ids("replay-a-", "").place("replay-b-1")
        ((3, 17, True), None)
        """
        if not ident.startswith(self.prefix):
            return None
        row = ident[len(self.prefix) :].removesuffix(_OUTCOME)
        shard, dot, number = row.rpartition(".")
        if not (row.isascii() and number.isdigit() and (not dot or shard.isdigit())):
            return None
        return int(shard) + 1 if dot else 0, int(number), ident.endswith(_OUTCOME)


@dataclass
class Rows:
    """A set of rows, with one bit per row."""

    _shards: dict[int, bytearray] = field(default_factory=dict)
    count: int = 0

    def add(self, shard: int, number: int) -> bool:
        """Add a row; returns whether it is new."""
        bits = self._shards.setdefault(shard, bytearray())
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(bits):
            bits.extend(bytes(place + 1 - len(bits) + len(bits) // 4))
        is_new = not bits[place] & bit
        bits[place] |= bit
        self.count += is_new
        return is_new

    def __contains__(self, row: tuple[int, int]) -> bool:
        shard, number = row
        bits = self._shards.get(shard, b"")
        return number >> 3 < len(bits) and bool(bits[number >> 3] & 1 << (number & 7))


@dataclass
class Sent:
    """The records of a replay on the log. `repeats`: records that are there more than once."""

    requests: Rows = field(default_factory=Rows)
    outcomes: Rows = field(default_factory=Rows)
    repeats: int = 0


async def find_sent(log: Log, topics: Topics, ids: Ids, progress: Progress) -> Sent:
    """Read requests and outcomes from the beginning to their current ends, to find those of this replay.

    Raises `Misconfigured` if they were made from the same file with other options.
    """
    sent = Sent()

    def take(record: Record) -> None:
        headers = dict(record.headers)
        place = ids.place((headers.get("ce_id") or b"").decode("utf-8", "replace"))
        if place is None:
            return
        if headers.get("ce_source") != ids.mapping.encode():
            raise Misconfigured(
                "these rows were replayed with other columns or durations: give the same options to continue,"
                " or --run NAME to replay them again"
            )
        shard, number, is_outcome = place
        rows = sent.outcomes if is_outcome else sent.requests
        sent.repeats += not rows.add(shard, number)

    ends = await pin_offsets(log, [topics.name("inference.requests"), topics.name("inference.outcomes")])
    await read_up_to(log, ends, take, progress)
    return sent
