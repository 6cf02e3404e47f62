"""Dead letters: the bytes as they came, with why they could not be understood (headers as Kafka Connect names them)."""

from headrace.bus.port import Out, Record
from headrace.errors import Poison

_PREFIX = "__connect.errors."


def dead_letter(topic: str, record: Record, poison: Poison, service: str) -> Out:
    """The record for `dlq.<service>`: value, key and headers unchanged, the reason beside them."""
    reasons = {
        f"{_PREFIX}topic": record.topic,
        f"{_PREFIX}partition": str(record.partition),
        f"{_PREFIX}offset": str(record.offset),
        f"{_PREFIX}exception.class.name": "Poison",
        f"{_PREFIX}exception.message": poison.reason,
        "headrace.service": service,
        "headrace.timestamp_ms": str(record.timestamp_ms),
    }
    if poison.field:
        reasons["headrace.field"] = poison.field
    return Out(topic, record.key, record.value, record.headers + tuple((k, v.encode()) for k, v in reasons.items()))
