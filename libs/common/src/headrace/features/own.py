"""Which requests and outcomes belong to a deployment, and which fields of them its rows need."""

import msgspec

from headrace.errors import Poison
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.log.codec import Codec, Message
from headrace.log.port import Record


class Own(msgspec.Struct, array_like=True, gc=False):
    """A request or an outcome of one deployment, with its offset. `at_s`: its instant, or when the outcome became
    known.
    """

    partition: int
    offset: int
    id: str
    at_s: float
    unit: str
    request: PredictionRequested | None = None
    outcome: OutcomeObserved | None = None


def own_of(codec: Codec, record: Record, deployment: str) -> Own | None:
    """A record as a request or outcome of this deployment; None where it is neither, or cannot be read."""
    if is_foreign(record, deployment):
        return None
    try:
        return owned(codec.decode(record), deployment)
    except Poison:
        return None


def owned(message: Message, deployment: str) -> Own | None:
    """The same for a decoded record."""
    event, envelope, record = message.event, message.envelope, message.record
    if isinstance(event, PredictionRequested) and event.deployment == deployment:
        unit = event.unit or (record.key or b"").decode("utf-8", "replace")
        return Own(record.partition, record.offset, envelope.id, envelope.time_s, unit, request=event)
    if isinstance(event, OutcomeObserved) and event.deployment == deployment:
        return Own(record.partition, record.offset, envelope.id, envelope.time_s, event.unit, outcome=event)
    return None


def is_foreign(record: Record, deployment: str) -> bool:
    r"""Whether a request, outcome or decision certainly names another deployment, without decoding it.

    A value that does not hold the bytes of the name cannot name it; in JSON the name must be in quotes (unless letters
    are escaped). MessagePack of our writers names the deployment in its first bytes. False for anything else.

    >>> from msgspec.msgpack import encode
    >>> is_foreign(Record("t", 0, 0, None, encode({"deployment": "abc"})), "xyz")
    True
    >>> is_foreign(Record("t", 0, 0, None, encode({"deployment": "abcd", "inputs": {}})), "abc")
    True
    >>> is_foreign(Record("t", 0, 0, None, b'{"deployment": "abcd"}'), "abc")
    True
    >>> is_foreign(Record("t", 0, 0, None, rb'{"deployment": "\u0078yz"}'), "xyz")
    False
    """
    value, name = record.value or b"", deployment.encode()
    first = value[0] if value else 0
    wanted = name if first >= 0x80 else b'"%b"' % name
    if wanted not in value and b"\\" not in value:
        return True
    at = 1 if 0x80 <= first <= 0x8F else 3 if first == 0xDE else -1
    for _ in range(3):
        if at < 0:
            return False
        key, at = _text(value, at)
        found, at = _text(value, at)
        if key == b"deployment":
            return at >= 0 and found != name
    return False


def _text(value: bytes, at: int) -> tuple[bytes, int]:
    """The text at a place of MessagePack bytes, and the place after it; -1 when there is none."""
    if not 0 <= at < len(value):
        return b"", -1
    first = value[at]
    if 0xA0 <= first <= 0xBF:
        begin, size = at + 1, first & 0x1F
    elif first == 0xD9 and at + 2 <= len(value):
        begin, size = at + 2, value[at + 1]
    else:
        return b"", -1
    return (value[begin : begin + size], begin + size) if begin + size <= len(value) else (b"", -1)
