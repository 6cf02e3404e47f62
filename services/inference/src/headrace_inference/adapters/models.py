"""Models from artifacts: checked, loaded by a fixed list of allowed types, warmed up, then asked.

The list of types, and the only way to read the format, are `headrace.models.skops_format`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.events.inference import Score
from headrace.events.registry import VersionRegistered
from headrace.models import skops_format
from headrace_inference.adapters.lane import Lane
from headrace_inference.core.outputs import BINARY, CLASSES, NUMBER, fault_of, scores_of

PREDICT_WITHIN_S = 5.0
LOAD_WITHIN_S = 60.0
WARM_ROWS = 64


class Unloadable(Exception):
    """This artifact must not or cannot be served; the message says why."""


class PredictFailed(Exception):
    """The model gave nothing that may be served; the message says why."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version that can be asked, in its own thread."""

    registered: VersionRegistered
    estimator: Any
    lane: Lane

    async def score(self, rows: np.ndarray, limit_s: float = PREDICT_WITHIN_S) -> Sequence[Score]:
        """One score per row. `rows`: float32, shape (n, columns). Raises `PredictFailed`."""
        try:
            raw = await self.lane.run(lambda: predict(self.estimator, rows, self.registered.output), limit_s)
        except TimeoutError:
            raise PredictFailed(f"predict took over {limit_s:g} s") from None
        except Exception as error:
            # NB: a model is foreign code: whatever it raises is its failure, not a bug of this loop.
            raise PredictFailed(f"predict raised {type(error).__name__}: {error}") from error
        fault = fault_of(raw, len(rows), self.registered.output)
        if fault is not None:
            raise PredictFailed(fault)
        return scores_of(raw, self.registered.output, self.registered.version, self.registered.model_digest)


def check(data: bytes, registered: VersionRegistered) -> None:
    """Refuse bytes that are not the registered artifact, or not of a kind that may be loaded. Raises `Unloadable`."""
    place = registered.place
    if len(data) != place.size_bytes:
        raise Unloadable(f"artifact has {len(data)} bytes, registered were {place.size_bytes}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != place.digest:
        raise Unloadable(f"artifact has sha256 {digest[:12]}, registered was {place.digest[:12]}")
    if place.format != "skops":
        raise Unloadable(f"format {place.format!r} is not served: save the model with skops (never pickle or joblib)")
    if registered.output not in (BINARY, NUMBER, CLASSES):
        raise Unloadable(f"output {registered.output!r} is unknown; there are binary, number and classes")
    try:
        skops_format.refuse_bomb(data)
    except Poison as poison:
        raise Unloadable(poison.reason) from poison


def load(data: bytes) -> Any:
    """The estimator of a checked artifact. Raises `Unloadable`."""
    try:
        return skops_format.load(data)
    except Poison as poison:
        raise Unloadable(poison.reason) from poison


async def warm(registered: VersionRegistered, data: bytes) -> LoadedModel:
    """Check, load, and run once on one row and once on a batch, all in the version's own thread. Raises `Unloadable`."""
    check(data, registered)
    lane = Lane(f"model-{registered.deployment}-{registered.version}")
    try:
        estimator = await lane.run(lambda: load(data), LOAD_WITHIN_S)
        model = LoadedModel(registered, estimator, lane)
        for count in (1, WARM_ROWS):
            await model.score(np.zeros((count, len(registered.signature.columns)), np.float32))
    except (Unloadable, PredictFailed) as error:
        lane.close()
        raise Unloadable(str(error)) from error
    except TimeoutError:
        lane.close()
        raise Unloadable(f"loading took over {LOAD_WITHIN_S:g} s") from None
    return model


def predict(estimator: Any, rows: np.ndarray, output: str) -> np.ndarray:
    """Probabilities, shape (n, classes), or numbers, shape (n,), as float64."""
    raw = estimator.predict(rows) if output == NUMBER else estimator.predict_proba(rows)
    return np.asarray(raw, np.float64)
