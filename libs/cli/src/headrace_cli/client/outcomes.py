"""Outcomes as the clients send them: checked before anything is sent, with ids that are the same when a call is repeated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.asking.outcomes import Observed, observed
from headrace.asking.requests import Unfit, id_of
from headrace_cli.client.errors import Rejected

# Below the limit of a gateway for one body.
MOST_AT_ONCE, MOST_BYTES = 256, 48_000


def checked(
    outcomes: Iterable[Mapping[str, Any]], call_id: str, now_s: float, *, is_one: bool = False
) -> list[Observed]:
    """The outcomes to send; those without an id get one derived from the call's. Raises `Rejected`, naming the field.

    >>> checked([{"unit": 7, "label": 1}, {"unit": "a", "label": 0, "id": "mine"}], "c", 0.0)[0].id
    'c/0'
    """
    found = []
    for number, given in enumerate(outcomes):
        where = "" if is_one else f"outcomes[{number}]: "
        try:
            if not isinstance(given, Mapping):
                raise Unfit(f"an outcome is a mapping with unit and label, got {type(given).__name__}")
            ident = call_id if is_one else f"{call_id}/{number}"
            found.append(observed(given, id_of(ident, "id"), now_s))
        except Unfit as error:
            raise Rejected(f"{where}{error}") from None
    return found


def row(one: Observed) -> dict[str, Any]:
    """An outcome as an object for JSON."""
    fields = {"id": one.id, "unit": one.unit, "label": one.label, "at": one.at_s}
    more = {"request_id": one.request_id, "corrects": one.corrects}
    return fields | {name: value for name, value in more.items() if value is not None}


def cut(outcomes: Sequence[Observed]) -> Iterator[list[Observed]]:
    """Split outcomes into calls of at most `MOST_AT_ONCE` outcomes and `MOST_BYTES` bytes, in their order."""
    part: list[Observed] = []
    size_bytes = 0
    for one in outcomes:
        size = len(msgspec.json.encode(row(one))) + 1
        if part and (len(part) >= MOST_AT_ONCE or size_bytes + size > MOST_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(one)
        size_bytes += size
    if part:
        yield part
