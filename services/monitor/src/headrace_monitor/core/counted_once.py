"""What counts once: the first request of a unit in a block, and the first failure of a unit or of a row.

Requests of one unit share their fate: a client that is broken fails again and again, and a client that retries asks the same
again. So a unit makes one case per block of event time, its first request there. Which request is the first one does not
depend on what the versions returned for it, so the choice favours none of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

# How many units are remembered, by block. One that so many others follow may count twice in its block.
UNITS_KEPT = 1024
# How many failing units, and rows, are remembered per arm: the newest ones.
FAILURES_KEPT = 256

# In place of a unit's key: the request is not the one with which its unit counts.
PASSED_OVER = -1


def key_of(unit: str) -> int:
    """The checksum by which a unit is remembered."""
    return crc32(unit.encode("utf-8", "surrogatepass"))


class FirstOfBlock:
    """The request with which each unit counts in each block.

    >>> first = FirstOfBlock()
    >>> [first.take("ann", block, request) != PASSED_OVER for block, request in ((7, "a"), (7, "b"), (8, "c"), (7, "d"))]
    [True, False, True, False]
    """

    def __init__(self, kept: Iterable[Sequence[float]] = ()) -> None:
        # NB: of a request its id is kept, or after a restart the checksum: making it for each request would cost more.
        self._kept: dict[tuple[int, int], str | int] = {
            (int(unit), int(block)): int(request) for unit, block, request in kept
        }

    def take(self, unit: str, block: int, request_id: str) -> int:
        """The key of the unit if this is its first request in the block, which is then remembered; else `PASSED_OVER`."""
        key, kept = crc32(unit.encode("utf-8", "surrogatepass")), self._kept
        place = (key, block)
        if place in kept:
            return PASSED_OVER
        kept[place] = request_id
        if len(kept) > UNITS_KEPT:
            del kept[next(iter(kept))]
        return key

    def taken(self, unit: str, block: int, request_id: str) -> int:
        """What `take` returned for a request that is read again."""
        key = key_of(unit)
        return key if self._kept.get((key, block), "") in (request_id, key_of(request_id)) else PASSED_OVER

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal object."""
        requests = self._kept.values()
        return {
            "units": [float(unit) for unit, _ in self._kept],
            "blocks": [float(block) for _, block in self._kept],
            "requests": [float(key_of(request) if isinstance(request, str) else request) for request in requests],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Sequence[float]] | None) -> "FirstOfBlock":
        """The object behind a `state`; an empty one when `state` is None."""
        return cls() if state is None else cls(zip(state["units"], state["blocks"], state["requests"], strict=True))


class SeenFailures:
    """The units and rows that have failed: the newest `FAILURES_KEPT` of each, by checksum.

    >>> seen = SeenFailures()
    >>> seen.is_first("ann", b"1"), seen.is_first("ann", b"2"), seen.is_first("bob", b"1"), seen.is_first("bob", b"")
    (True, False, False, True)
    """

    def __init__(self, units: Iterable[float] = (), rows: Iterable[float] = ()) -> None:
        self._units = dict.fromkeys(int(unit) for unit in units)
        self._rows = dict.fromkeys(int(row) for row in rows)

    def is_first(self, unit: str, row: bytes) -> bool:
        """Whether this failure is the first one of its unit and of its row; if so, it is remembered.

        `row`: the bytes of the feature row; b"" when it is not known.
        """
        if key_of(unit) in self._units or (row and crc32(row) in self._rows):
            return False
        self._units[key_of(unit)] = None
        _forget(self._units)
        return self.is_first_row(row)

    def is_first_row(self, row: bytes) -> bool:
        """Whether this failure is the first one of its row, whichever unit asked; if so, it is remembered."""
        if not row:
            return True
        of_row = crc32(row)
        if of_row in self._rows:
            return False
        self._rows[of_row] = None
        _forget(self._rows)
        return True

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which `restored` makes an equal object."""
        return {"units": [float(unit) for unit in self._units], "rows": [float(row) for row in self._rows]}

    @classmethod
    def restored(cls, state: Mapping[str, Sequence[float]] | None) -> "SeenFailures":
        """The object behind a `state`; an empty one when `state` is None."""
        return cls() if state is None else cls(state.get("units", ()), state.get("rows", ()))


def _forget(kept: dict[int, None]) -> None:
    if len(kept) > FAILURES_KEPT:
        del kept[next(iter(kept))]
