"""Bytes to events and back, within limits: MessagePack between services, JSON too on users' topics.

Map keys are written as text, since MessagePack readers in other languages expect that. Older records with numeric keys
are read as well. A record that cannot be read is `Poison` with the field at fault. An unknown type on a facts topic is
`Fatal`, since state folded without it would be wrong ("upgrade readers first").
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from headrace.errors import Fatal, Poison
from headrace.events import event_types, type_name
from headrace.events.inference import PredictionRequested
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import Route, RouteChanged
from headrace.log.envelope import (
    JSON,
    MAX_HEADER_BYTES,
    MAX_TEXT_BYTES,
    MSGPACK,
    Envelope,
    Origin,
    parse_instant,
    read_headers,
    write_headers,
)
from headrace.log.limits import (
    BIG_JSON,
    BIG_MSGPACK,
    MAX_KEY_BYTES,
    bounded_request,
    refuse_ahead,
    refuse_beyond,
    refuse_oversized,
)
from headrace.log.port import MAX_VALUE_BYTES, Headers, Out, Record
from headrace.log.topics import TopicRule, Topics
from headrace.log.trace import child_of
from headrace.log.undecoded import second
from headrace.log.undecoded import why_not as why_unread

_MSGPACK = MSGPACK.encode()
# Events with maps whose keys are numbers in memory, and their digits where they are written.
_NUMBERED = frozenset((Route, RouteChanged, RolloutJudged))
_FIELD = re.compile(r" - at `\$\.?([^`]*)`")


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record with its envelope and event. `event` is None for a tombstone, and for a type that is not known here."""

    record: Record
    envelope: Envelope
    event: Any


class SourceEvent(msgspec.Struct, frozen=True, gc=False):
    """What a fold needs of a source's record: the event (or progress marker) and its origin, without the whole
    envelope.
    """

    record: Record
    event: Any
    origin: Origin | None


class _Plain(NamedTuple):
    """How records of a source are read: its decoder, and the types that are not its events (markers)."""

    read: Callable[[bytes], Any]
    others: frozenset[bytes]


class Codec:
    """Reads and writes events. `sources`: the event struct per full topic name of a source."""

    def __init__(self, topics: Topics, sources: Mapping[str, type[msgspec.Struct]] | None = None) -> None:
        self._topics = topics
        self._sources = dict(sources or {})
        self._rules: dict[str, TopicRule] = {}
        self._plain: dict[str, _Plain] = {}
        self._decoders: dict[tuple[type, bool], msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]] = {}

    def add_sources(self, sources: Mapping[str, type[msgspec.Struct]]) -> None:
        """Add the sources of a project that was applied."""
        self._sources.update(sources)
        self._plain.clear()

    def is_users(self, topic: str) -> bool:
        """Whether users may write to a topic, so that an unreadable record never stops it."""
        return self._rule(topic).audience == "users"

    def encode(self, event: msgspec.Struct) -> bytes:
        """MessagePack bytes of an event."""
        return written(event)

    def decode(self, record: Record) -> Message:
        """The message of a record. Raises `Poison` for what can never be read, `Fatal` for an unknown type of fact."""
        rule = self._rule(record.topic)
        if rule.base.startswith("dlq."):
            return Message(record, _UNREAD, None)
        try:
            return self._decode(record, rule)
        except Exception as error:
            # NB: the last resort: no record may break its reader.
            failure = Poison.of(error)
            if failure is error:
                raise
            raise failure from error

    def _decode(self, record: Record, rule: TopicRule) -> Message:
        is_users = rule.audience == "users"
        if record.unread is not None or (is_users and record.key is not None and len(record.key) > MAX_KEY_BYTES):
            refuse_oversized(record)
        envelope = read_headers(record, MAX_TEXT_BYTES if is_users else MAX_HEADER_BYTES)
        if is_users and envelope.time_s * 1000 > record.timestamp_ms and "prediction.requested" not in rule.types:
            refuse_ahead(record, envelope.time_s)
        if record.value is None:
            return _tombstone(record, envelope, rule)
        wanted = self._type(record.topic, rule, envelope)
        if wanted is None:
            return _unknown(record, envelope, rule)
        return Message(record, envelope, self._read(record.value, wanted, envelope, rule))

    def decode_event(self, record: Record) -> tuple[Any, Origin | None]:
        """Only the event and the origin of a source's record, for reading many. It refuses exactly what `decode`
        refuses.
        """
        plain = self._plain.get(record.topic) or self._know_plain(record.topic)
        value, found = record.value, dict(record.headers)
        # The fast path for what our pipelines write, record after record. Everything else takes the slow path.
        if plain is not None and found.get("content-type") == _MSGPACK and value is not None:
            joined = b"".join(found.values()) if None not in found.values() else b"\xff"
            if (
                found.get("ce_type", b"") not in plain.others
                and len(joined) <= MAX_TEXT_BYTES
                and len(value) <= MAX_TEXT_BYTES
                and len(record.key or b"") <= MAX_KEY_BYTES
                and joined.isascii()
                and BIG_MSGPACK not in value
            ):
                time, origin = found.get("ce_time"), found.get("ce_origin")
                try:
                    if not time or parse_instant(time.decode()) * 1000 <= record.timestamp_ms:
                        return plain.read(value), (Origin.parse(origin.decode()) if origin else None)
                except Exception:  # the slow path reports what is wrong
                    pass
        message = self.decode(record)
        return message.event, message.envelope.origin

    def _know_plain(self, topic: str) -> "_Plain | None":
        wanted = self._sources.get(topic)
        if wanted is None:
            return None
        others = frozenset(name.encode() for name in self._rule(topic).types)
        found = self._plain[topic] = _Plain(self._decoder(wanted, False).decode, others)
        return found

    def decode_source(self, record: Record) -> SourceEvent:
        """The same, with the record."""
        return SourceEvent(record, *self.decode_event(record))

    def _rule(self, topic: str) -> TopicRule:
        found = self._rules.get(topic)
        if found is None:
            found = self._rules[topic] = self._topics.rule(topic)
        return found

    def _type(self, topic: str, rule: TopicRule, envelope: Envelope) -> type[msgspec.Struct] | None:
        source = self._sources.get(topic)
        if source is not None and envelope.type not in rule.types:
            return source  # a source holds one type of event, whatever name it has
        if not envelope.type and rule.types:  # a plain producer
            return event_types()[rule.types[0]]
        return event_types()[envelope.type] if envelope.type in rule.types else None

    def _read(self, value: bytes, wanted: type[msgspec.Struct], envelope: Envelope, rule: TopicRule) -> Any:
        if len(value) > MAX_VALUE_BYTES:
            raise Poison(f"value has {len(value)} bytes, the limit is {MAX_VALUE_BYTES}")
        is_users = rule.audience == "users"
        json = is_users and is_json(value, envelope.content_type)
        try:
            event = self._decoder(wanted, json).decode(value)
        except msgspec.ValidationError as error:
            event = second(value, wanted, json)
            if event is None:
                raise Poison(
                    why_unread(value, envelope.content_type, json) or f"not a valid {type_name(wanted)}: {error}",
                    _field_of(error),
                ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise Poison(
                why_unread(value, envelope.content_type, json) or f"not {'JSON' if json else 'MessagePack'}: {error}"
            ) from None
        if is_users:
            # NB: the bytes of nearly every value show that nothing in it is too long or too large.
            is_long = len(value) > MAX_TEXT_BYTES
            if wanted is PredictionRequested:
                return bounded_request(event, is_long, json or BIG_MSGPACK in value)
            if is_long or (BIG_JSON(value) if json else BIG_MSGPACK in value):
                refuse_beyond(event, "")
        return event

    def _decoder(self, wanted: type, json: bool) -> msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]:
        found = self._decoders.get((wanted, json))
        if found is None:
            # NB: without strict mode, keys of digits become numbers again.
            is_strict = wanted not in _NUMBERED
            found = msgspec.json.Decoder(wanted) if json else msgspec.msgpack.Decoder(wanted, strict=is_strict)
            self._decoders[wanted, json] = found
        return found


def is_json(value: bytes, content_type: str) -> bool:
    """Whether a value is JSON: by its content type, or without one by its first byte that is not blank.

    >>> is_json(b' {"deployment": "d"}', ""), is_json(b"\\x80", ""), is_json(b"{}", "Application/JSON; charset=utf-8")
    (True, False, True)
    """
    if content_type == MSGPACK:
        return False
    if content_type:
        kind = content_type.split(";", 1)[0].strip().lower()
        return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    first = value[:1]
    return (value.lstrip()[:1] if first in _BLANK else first) in (b"{", b"[")


def out(
    topic: str, key: str | bytes | None, event: msgspec.Struct, envelope: Envelope, partition: int | None = None
) -> Out:
    """A record to write: the event in MessagePack under its envelope. An empty `type` is filled from the event's
    type.
    """
    raw_key = key.encode() if isinstance(key, str) else key
    headers = write_headers(envelope, envelope.type or type_name(type(event)))
    return Out(topic, raw_key, written(event), headers, partition)


class Stamp:
    """Writes many records whose envelopes differ in their id only."""

    def __init__(self, topic: str, envelope: Envelope, partition: int | None = None) -> None:
        self._topic, self._partition = topic, partition
        self._shared = tuple(pair for pair in write_headers(envelope) if pair[0] != "ce_id")

    def out(self, key: str, event: msgspec.Struct, ident: str) -> Out:
        """One record to write."""
        headers = (("ce_id", ident.encode()), *self._shared)
        return Out(self._topic, key.encode(), written(event), headers, self._partition)


def tombstone(topic: str, key: str, envelope: Envelope, partition: int | None = None) -> Out:
    """A record that deletes `key` from a compacted topic."""
    return Out(topic, key.encode(), None, write_headers(envelope), partition)


def written(event: msgspec.Struct) -> bytes:
    """An event's MessagePack. Text of foreign code that cannot be encoded (half of a surrogate pair) is escaped.

    Raises `UnicodeEncodeError` for a request with such an input, since another text would be another request.
    """
    try:
        return _ENCODER.encode(event if type(event) not in _NUMBERED else msgspec.to_builtins(event, str_keys=True))
    except UnicodeEncodeError:
        if isinstance(event, PredictionRequested):
            raise
        return _ENCODER.encode(in_text(msgspec.to_builtins(event, builtin_types=_BYTES, str_keys=True)))


def in_text(value: Any) -> Any:
    r"""Builtin values with all texts encodable; what cannot be encoded is escaped.

    >>> in_text(["a", chr(0xDC00), 1]) == ["a", r"\udc00", 1]
    True
    """
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {in_text(name): in_text(found) for name, found in value.items()}
        case list():
            return [in_text(found) for found in value]
    return value


def caused_by(
    cause: "Message | None", *, id: str, source: str, time_s: float, type: str = "", origin: Origin | None = None
) -> Envelope:
    """The envelope of an event that follows from `cause`, with its causation, correlation and trace."""
    if cause is None:
        return Envelope(id, type, source, time_s, correlation_id=id, origin=origin)
    before = cause.envelope
    return Envelope(
        id=id,
        type=type,
        source=source,
        time_s=time_s,
        causation_id=before.id,
        correlation_id=before.correlation_id or before.id,
        origin=origin,
        traceparent=child_of(before.traceparent, id) if before.traceparent else None,
    )


def header(headers: Headers, name: str) -> str | None:
    """The value of one header; None when it is missing."""
    return next(((value or b"").decode("utf-8", "replace") for found, value in headers if found == name), None)


# Dead letters keep the bytes and headers that could not be read. Nobody reads them again.
_UNREAD = Envelope("", "", "", 0.0)
_ENCODER = msgspec.msgpack.Encoder()
_BYTES = (bytes, bytearray, memoryview)
_BLANK = (b" ", b"\t", b"\r", b"\n")


def _tombstone(record: Record, envelope: Envelope, rule: TopicRule) -> Message:
    if "compact" in rule.cleanup:
        return Message(record, envelope, None)
    raise Poison("value is empty (a null record means deletion, and this topic is not compacted)")


def _unknown(record: Record, envelope: Envelope, rule: TopicRule) -> Message:
    reason = f"unknown type {envelope.type[:100]!r} on {record.topic}; it holds {', '.join(rule.types) or 'no events of ours'}"
    if rule.audience == "users":
        raise Poison(reason, "ce_type")
    if rule.audience == "facts":
        raise Fatal(f"{reason}: upgrade this reader first")
    return Message(record, envelope, None)


def _field_of(error: msgspec.ValidationError) -> str | None:
    found = _FIELD.search(str(error))
    named = re.search(r"required field `([^`]+)`", str(error))
    parts = [part for part in (found and found[1], named and named[1]) if part]
    return ".".join(parts) or None
