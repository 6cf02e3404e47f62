"""The present champion and its scores of rows: predicted again where its rows can be made, else as the log has them.

| rows                                              | its score                                                    |
|---------------------------------------------------|--------------------------------------------------------------|
| newer than what it was trained on                 | the champion's                                               |
| older, of its own holdout                         | its gated twin's: the same recipe, fitted without them       |
| older still                                       | none (NaN): a comparison there would flatter it              |
| its views, derived columns or inputs have changed | as it was logged when they were served, joined by request id |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, FellBack, Score, Served, ShadowScored
from headrace.events.registry import ArtifactPlace, ModelVersion, Signature, VersionRegistered
from headrace.features.dataset import Rows
from headrace.features.own import is_foreign
from headrace.log.codec import Codec
from headrace.log.port import Log, Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace.models.engine import Engine, load
from headrace.models.matching import matched
from headrace_trainer.core.target import Target

Floats = NDArray[np.float64]


@dataclass
class Versions:
    """The registered versions of a deployment, and the champion among them."""

    champion: VersionRegistered | None
    registered: Sequence[VersionRegistered]

    def signatures_of(self, views_digest: str) -> set[str]:
        """The signatures whose rows are made by these views."""
        return {found.signature.digest for found in self.registered if found.signature.views_digest == views_digest}


async def read_versions(log: Log, codec: Codec, topics: Topics, deployment: str) -> Versions:
    """The versions in the registry's current state. Those of other deployments are not decoded. Raises `Retryable` while the log is away."""
    current: dict[bytes, ModelVersion | None] = {}

    def take(record: Record) -> None:
        if record.value is None or not is_foreign(record, deployment):
            current[record.key or b""] = codec.decode(record).event

    await read_up_to(log, await pin_offsets(log, [topics.name("registry.models")]), take)
    ours = [found for found in current.values() if found and found.registered.deployment == deployment]
    champion = next((found.registered for found in ours if "champion" in found.aliases), None)
    return Versions(champion, [found.registered for found in ours])


@dataclass
class Champion:
    """The champion. `engine`, `twin`: None where they cannot predict; `logged`: its score per request id, as it was served."""

    registered: VersionRegistered
    engine: Engine | None = None
    twin: Engine | None = None
    logged: dict[str, Score] = field(default_factory=dict)

    @property
    def known_to_s(self) -> float:
        """The instant from which on rows can be compared with it."""
        lineage = self.registered.lineage
        if self.twin is not None and self.engine is not None and lineage.twin_to_s is not None:
            return min(lineage.twin_to_s, lineage.request_to_s)
        return lineage.request_to_s

    def can_predict(self, signature: Signature) -> bool:
        """Whether rows of `signature` (today's definition) are rows of its own: the same views, and columns of the same names."""
        own = self.registered.signature
        names = [column.name for column in own.columns]
        is_same = own.views_digest == signature.views_digest and names == [column.name for column in signature.columns]
        return is_same and not own.frame

    def note(self, event: DecisionMade | ShadowScored) -> None:
        """Note its score of a request, where it gave one."""
        version = self.registered.version
        if isinstance(event, ShadowScored):
            found = [event.score] if event.score is not None else []
        else:
            answered = isinstance(event.answer, Served | FellBack)
            found = [*([event.answer.score] if answered else []), *event.shadows]
        for score in found:
            if score.version == version:
                self.logged.setdefault(event.request_id, score)

    def scores(self, target: Target, deployment: DeploymentDefinition, rows: Rows) -> Floats:
        """Its scores of rows, see `headrace.stats.losses`; NaN where there is none that may be compared with."""
        own = self.registered
        if self.engine is None:
            return self._logged_scores(target, rows)
        matrix = rows.matrix(deployment, own.signature)
        found = target.ask(self.engine, matrix, own.class_places)
        is_known = rows.at_s < own.lineage.request_to_s
        if self.twin is not None and is_known.any():
            found[is_known] = target.ask(self.twin, matrix[is_known], target.places_of_twin(self.twin))
        found[rows.at_s < self.known_to_s] = np.nan
        return found

    def _logged_scores(self, target: Target, rows: Rows) -> Floats:
        found = target.unknown(len(rows))
        for row in np.flatnonzero(rows.at_s >= self.registered.lineage.request_to_s):
            score = self.logged.get(rows.ids[row])
            figures = None if score is None else target.score_of(score)
            if figures is not None:
                found[row] = figures
        return found


async def engine_at(log: Log, topics: Topics, place: ArtifactPlace | None, signature: Signature) -> Engine | None:
    """The model at a place on the log, for rows of `signature`; None where there is none, or it cannot be loaded.

    Raises `Retryable` while the log is away.
    """
    if place is None:
        return None
    try:
        return matched(load(await artifacts.fetch(log, topics, place), place.format), signature)
    except Poison:
        return None
