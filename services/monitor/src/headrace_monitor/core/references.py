"""What live rows are compared with: the reference of the version that answered, as arrays, by deployment and version.

A version that was registered without a reference has none: its rows are not compared. Of each deployment the newest versions
are kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.references import VersionReference
from headrace.events.registry import VersionRegistered
from headrace.stats.profiles import Frame

KEPT_VERSIONS = 20


@dataclass(frozen=True)
class VersionFrame:
    """How rows of a version are compared. `places`: where the columns of the frame stand in a row of `width` columns; the scores,
    where the reference has them (`has_score`), are the last column of the frame. `defaulted`: the features whose rows hold a default
    where they have no value, and of which it is known how often training had that.
    """

    version: int
    reference: VersionReference
    frame: Frame
    places: NDArray[np.int64]
    width: int
    has_score: bool
    defaulted: frozenset[str] = frozenset()

    def matrix(self, rows: bytes, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns of the frame, float32 (n, columns). `rows`: the bytes of n rows, one after another; `scores`: (n,)."""
        chosen = np.frombuffer(rows, "<f4").reshape(len(scores), self.width)[:, self.places]
        return np.column_stack([chosen, scores]) if self.has_score else chosen


class References:
    """The frames of registered versions."""

    def __init__(self) -> None:
        self._frames: dict[str, dict[int, VersionFrame]] = {}

    def add(self, registered: VersionRegistered) -> None:
        """Note a registered version."""
        if (reference := registered.reference) is None:
            return
        names = {column.name: place for place, column in enumerate(registered.signature.columns)}
        columns = [column for column in reference.columns if column.name in names]
        places = np.array([names[column.name] for column in columns], np.int64)
        whole = columns if reference.scores is None else [*columns, reference.scores]
        found = VersionFrame(
            registered.version, reference, Frame(whole), places, len(registered.signature.columns),
            reference.scores is not None, frozenset(one.name for one in columns if one.most_missing is not None),
        )  # fmt: skip
        known = self._frames.setdefault(registered.deployment, {})
        known[registered.version] = found
        for version in sorted(known)[:-KEPT_VERSIONS]:
            del known[version]

    def of(self, deployment: str, version: int) -> VersionFrame | None:
        """How rows of a version are compared; None where there is nothing to compare them with."""
        return self._frames.get(deployment, {}).get(version)
