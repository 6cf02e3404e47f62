"""Raw streams, and sources of typed events."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class RawStream:
    """A topic as the outside world sends it. `partitions` cannot change later: choose for the load you expect."""

    name: str
    format: str = "json"
    partitions: int = 2


@dataclass(frozen=True)
class Reference:
    """A compacted topic `reference.<name>.v1` with one message per key, in which pipelines look things up.

    A pipeline that names it gets a mapping from key to newest message. It is read to its end before the first raw
    message.
    """

    name: str
    partitions: int = 1


@dataclass(frozen=True)
class Source:
    """A topic of typed domain events.

    - `event`: a `msgspec.Struct` whose fields are float, int, str, bool or datetime, optional where null is allowed.
    - `event_time`: the field that holds when the event happened.
    - `key`: the field that keys the record; events of one key keep their order.
    - `available_at`: the field that holds when the event may be used; without it, `available_after` its event time.
    - `dedupe`: a field that identifies the event. An event of the same key and identity, less than `dedupe_within` away
      from the first, is a repeat and does not count.
    """

    name: str
    event: type[msgspec.Struct]
    event_time: str
    key: str
    available_at: str | None = None
    available_after: str | float = 0.0
    partitions: int = 2
    dedupe: str | None = None
    dedupe_within: str | float = "1d"
