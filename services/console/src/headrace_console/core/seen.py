"""A record as the folds of the console take it: without headers and bytes."""

from typing import Any

import msgspec


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A record that was read.

    `topic`: its base name without the version, `registry.facts`. `place`: `registry.facts/0/17`. `key`: as text. `event`:
    None for a tombstone and for a type that is not known here. `id`, `cause`: of the event, and of the event that
    caused it, "" for none. `at_s`: domain time. `appended_s`: wall clock of the broker.
    """

    topic: str
    place: str
    key: str
    event: Any
    id: str
    cause: str
    at_s: float
    appended_s: float
