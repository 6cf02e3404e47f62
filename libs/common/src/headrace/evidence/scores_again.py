"""Scores made again: by the file that inference serves, for rows that lie on the log."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.errors import Poison
from headrace.events.registry import VersionRegistered
from headrace.evidence.reading import Evidence
from headrace.evidence.remade import Part, score_again
from headrace.models import artifacts
from headrace.models.engine import Engine, by_class, load
from headrace.models.frames import frame_of
from headrace.models.matching import matched

# What files that hold trees name, by format: all of xgboost's and lightgbm's are trees here.
_TREES = (b"TreeEnsemble", b"TreePredictor", b"sklearn.tree._tree")


@dataclass(frozen=True)
class Scorer:
    """A loaded version. `is_trees`: its scores are sums of leaves, the same to the bit wherever they are computed."""

    registered: VersionRegistered
    engine: Engine
    is_trees: bool

    def scores(self, rows: Sequence[bytes]) -> list[list[float]]:
        """The numbers of each row's score, as a decision holds them."""
        if not rows:
            return []
        values = np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)
        registered = self.registered
        signature, output = registered.signature, registered.output
        shaped = frame_of(values, signature.columns) if signature.frame else values
        raw = by_class(self.engine.predict(shaped, output), len(registered.classes), registered.class_places)
        if output == "number":
            return [[value] for value in raw.tolist()]
        return raw.tolist() if output == "classes" else [[value] for value in raw[:, 1].tolist()]

    def again(self, rows: Sequence[bytes], then: Sequence[Sequence[float]]) -> list[Part]:
        """The score of each row compared with that of then. What differs in a batch is scored alone: the last
        bits of a product of matrices depend on how many rows it has.
        """
        try:
            together = [
                score_again(*pair, is_trees=self.is_trees) for pair in zip(then, self.scores(rows), strict=True)
            ]
        except Exception:  # NB: a model's own code; the rows that it raises for are found one by one
            together = [Part("differs")] * len(rows)
        return [
            part if part.result == "same" else self._alone(row, before)
            for part, row, before in zip(together, rows, then, strict=True)
        ]

    def _alone(self, row: bytes, then: Sequence[float]) -> Part:
        try:
            return score_again(then, self.scores([row])[0], is_trees=self.is_trees)
        except Exception as error:  # NB: a model's own code
            return Part("differs", f"it raises {type(error).__name__}: {error}"[:300])


async def scorer_of(evidence: Evidence, deployment: str, version: int) -> Scorer | str:
    """A version, loaded; a sentence where that is not possible."""
    current = await evidence.version(deployment, version)
    if current is None:
        return f"version {version} is not registered any more"
    if current.stage == "deleted":
        return f"version {version} was deleted"
    registered = current.registered
    # The file that inference serves: if there is an ONNX one, the other differs in the last digits.
    place = registered.onnx or registered.place
    try:
        data = await artifacts.fetch(evidence.log, evidence.topics, place)
        engine = matched(load(data, place.format), registered.signature)
    except Poison as poison:
        return f"version {version} cannot be loaded: {poison}"
    return Scorer(registered, engine, holds_trees(data, place.format))


def holds_trees(data: bytes, format: str) -> bool:
    """Whether a model's file holds trees."""
    if format in ("xgboost", "lightgbm"):
        return True
    if format == "skops":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("schema.json")
    return any(name in data for name in _TREES)
