"""The envelope of a record: CloudEvents 1.0 in Kafka binary mode, with the chain of causes.

Headers: `ce_specversion ce_id ce_type ce_source ce_time content-type`, `ce_causationid` (the event that caused this
one), `ce_correlationid` (shared by all events of one chain of causes), `ce_origin` (the raw or source record it was
made from: `topic/partition/offset/index`), `traceparent` (W3C trace context). A plain producer needs only key and
value: a missing id is derived from the record's offset, and a missing time is its append time.
"""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from headrace.errors import Poison
from headrace.instants import EARLIEST_S, LATEST_S, instant_s
from headrace.log.port import Headers, Record

MSGPACK = "application/msgpack"
JSON = "application/json"
MAX_HEADER_BYTES = 65_536
MAX_HEADERS = 256
# The limit of each header that is read, on topics that users may write. Our own headers, which follow from them, may be
# longer.
MAX_TEXT_BYTES = 512
MAX_INT = 2**63 - 1


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The record that an event was made from, and which of that record's outputs it is (`index`)."""

    topic: str
    partition: int
    offset: int
    index: int = 0

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}"

    @staticmethod
    def parse(text: str) -> "Origin":
        """Read `topic/partition/offset/index` (a topic has no slash). Raises `Poison` for any other text."""
        try:
            topic, partition, offset, index = text.split("/")
            # NB: `int` also accepts signs, blanks, underscores and the digits of every script.
            if text.isascii() and len(text) <= MAX_TEXT_BYTES and (partition + offset + index).isdigit():
                origin = Origin(topic, int(partition), int(offset), int(index))
                if topic and origin.partition < 2**31 and origin.offset <= MAX_INT and origin.index <= MAX_INT:
                    return origin
        except ValueError:
            pass
        raise Poison(f"ce_origin must be topic/partition/offset/index, got {_short(text)}", "ce_origin")


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """Identity, source, time and causes of an event.

    `time_s`: domain time, seconds since the epoch. `type`: `noun.past_tense`, or "" when it is missing.
    """

    id: str
    type: str
    source: str
    time_s: float
    causation_id: str | None = None
    correlation_id: str | None = None
    origin: Origin | None = None
    traceparent: str | None = None
    content_type: str = MSGPACK


# Instants repeat: schedules have whole minutes, and a request's instant is written on all that follows from it.
_instants = lru_cache(2048)


@_instants
def format_instant(time_s: float) -> str:
    """RFC 3339 in UTC, microseconds only when there are any.

    >>> format_instant(1364774400.0)
    '2013-04-01T00:00:00Z'
    """
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


@_instants
def parse_instant(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 instant, in UTC when it has no zone. Raises `Poison` for any other text.

    >>> parse_instant("2013-04-01T02:00:00+02:00")
    1364774400.0
    """
    try:
        time_s = instant_s(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise Poison(
            f"ce_time must be an RFC 3339 instant such as 2013-04-01T12:00:00Z, got {_short(text)}", "ce_time"
        ) from None
    # NB: an instant that cannot be written again would stop the service that answers it.
    if not EARLIEST_S <= time_s <= LATEST_S:
        raise Poison(f"ce_time must lie in the years 1..9999 UTC, got {_short(text)}", "ce_time")
    return time_s


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def derived_id(*parts: object) -> str:
    """An id that is the same in a replay: a hash of what the event follows from.

    >>> derived_id("flight-delay", 3, "drift") == derived_id("flight-delay", 3, "drift")
    True
    """
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def write_headers(envelope: Envelope, kind: str | None = None) -> Headers:
    """The Kafka headers of an envelope. `kind`: used instead of its `type`."""
    pairs = [
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_type", (envelope.type if kind is None else kind).encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_time", format_instant(envelope.time_s).encode()),
        ("content-type", envelope.content_type.encode()),
    ]
    if envelope.causation_id:
        pairs.append(("ce_causationid", envelope.causation_id.encode()))
    if envelope.correlation_id:
        pairs.append(("ce_correlationid", envelope.correlation_id.encode()))
    if envelope.origin:
        pairs.append(("ce_origin", str(envelope.origin).encode()))
    if envelope.traceparent:
        pairs.append(("traceparent", envelope.traceparent.encode()))
    return tuple(pairs)


def read_headers(record: Record, max_text_bytes: int = MAX_HEADER_BYTES) -> Envelope:
    """The envelope of a record. What a plain producer left out is derived from the record's offset and append time.

    Of a repeated header the last one counts. `max_text_bytes`: the limit of each header that is read. Raises `Poison`
    when a header cannot be read.
    """
    found = dict(record.headers)
    try:
        size = len("".join(found)) + len(b"".join(found.values()))  # the fastest way to add up lengths
    except TypeError:  # a header without a value
        found = {name: value or b"" for name, value in record.headers}
        size = len("".join(found)) + len(b"".join(found.values()))
    if size > MAX_HEADER_BYTES or len(record.headers) > MAX_HEADERS:
        raise Poison(
            f"there are {len(record.headers)} headers of {size} bytes, the limits are {MAX_HEADERS} and {MAX_HEADER_BYTES}"
        )
    if size > max_text_bytes:
        _refuse_long(found, max_text_bytes)
    try:
        return _envelope(record, found)
    except UnicodeDecodeError as error:
        raise Poison(f"headers must be UTF-8: {error.reason} in {error.object[:100]!r}") from None


def _refuse_long(found: dict[str, bytes], limit: int) -> None:
    for name in _READ:
        length = len(found.get(name, b""))
        if length > limit:
            raise Poison(f"{name} has {length} bytes, at most {limit} are allowed", name)


_READ = (
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_causationid",
    "ce_correlationid",
    "ce_origin",
    "traceparent",
    "content-type",
)


def _envelope(record: Record, found: dict[str, bytes]) -> Envelope:
    get = found.get
    ident, time, origin = get("ce_id"), get("ce_time"), get("ce_origin")
    causation, correlation, trace = get("ce_causationid"), get("ce_correlationid"), get("traceparent")
    return Envelope(
        ident.decode() if ident else record.place,
        get("ce_type", b"").decode(),
        get("ce_source", b"").decode(),
        parse_instant(time.decode()) if time else record.timestamp_ms / 1000,
        None if causation is None else causation.decode(),
        None if correlation is None else correlation.decode(),
        Origin.parse(origin.decode()) if origin else None,
        None if trace is None else trace.decode(),
        get("content-type", b"").decode(),
    )
