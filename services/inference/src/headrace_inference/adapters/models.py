"""Models from artifacts: checked, loaded as data (never as code), warmed up, then asked.

What may be loaded, and how, stands in `headrace.models`: one module per format.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from headrace.errors import Poison
from headrace.events.inference import Score
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace.models.engine import Engine, Floats, footprint_bytes
from headrace.models.engine import load as load_engine
from headrace.models.frames import frame_of
from headrace_inference.adapters.lane import Lane, LaneBusy
from headrace_inference.core.isolation import Pace, predict_in_portions
from headrace_inference.core.outputs import BINARY, CLASSES, NUMBER, fault_of, faults_of_rows, scores_of

PREDICT_WITHIN_S = 5.0
LOAD_WITHIN_S = 60.0
WARM_ROWS = 64
_ASKING_SHARE = 0.8
GOLDEN_WITHIN, GOLDEN_NEARLY = 1e-6, 1e-3


class Unloadable(Exception):
    """This artifact must not or cannot be served; the message says why."""


class PredictFailed(Exception):
    """The model gave nothing that may be served; the message says why."""


class PredictHangs(PredictFailed):
    """The model has not answered within the limit; its thread is busy still."""


class PredictWaits(PredictFailed):
    """The model's thread was at other calls: not the version's failure."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a call gave: a score per row, in order. `faults`: rows whose score must not be served, and why; `unasked`: rows
    that were not reached in time.
    """

    scores: Sequence[Score]
    faults: dict[int, str]
    unasked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version that can be asked, in its own thread."""

    registered: VersionRegistered
    engine: Engine
    lane: Lane
    footprint_bytes: int = 0
    pace: Pace = field(default_factory=Pace)

    async def score(self, rows: np.ndarray, limit_s: float = PREDICT_WITHIN_S) -> Scored:
        """Scores of `rows` (float32, shape (n, columns)) within `limit_s`. Raises `PredictFailed`."""
        output = self.registered.output
        # NB: a portion that is begun shortly before the limit would look like a hang.
        until_s = time.monotonic() + limit_s * _ASKING_SHARE
        ask = partial(predict_in_portions, self._predict, rows, self.pace, time.monotonic, until_s)
        try:
            predicted = await self.lane.run(ask, limit_s)
        except TimeoutError:
            raise PredictHangs(f"predict took over {limit_s:.3g} s") from None
        except LaneBusy:
            raise PredictWaits(f"its thread was at other calls for {limit_s:.3g} s") from None
        except Exception as error:
            # NB: a model is foreign code: whatever it raises is its failure, not a bug of this loop.
            raise PredictFailed(f"predict raised {type(error).__name__}: {error}") from error
        raw = predicted.raw
        fault = fault_of(raw, len(rows), output)
        if fault is not None:
            raise PredictFailed(fault)
        raised = {row: f"predict raised {reason}" for row, reason in predicted.faults.items()}
        scores = scores_of(raw, output, self.registered.version, self.registered.model_digest)
        reached = len(rows) - len(predicted.unasked)
        return Scored(scores, faults_of_rows(raw[:reached], output) | raised, predicted.unasked)

    def _predict(self, rows: np.ndarray) -> Floats:
        signature = self.registered.signature
        shaped = frame_of(rows, signature.columns) if signature.frame else rows
        return predict(self.engine, shaped, self.registered.output)


def check(data: bytes, place: ArtifactPlace, output: str) -> None:
    """Refuse bytes that are not the registered artifact, or predict nothing that can be served. Raises `Unloadable`."""
    if len(data) != place.size_bytes:
        raise Unloadable(f"artifact has {len(data)} bytes, registered were {place.size_bytes}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != place.digest:
        raise Unloadable(f"artifact has sha256 {digest[:12]}, registered was {place.digest[:12]}")
    if output not in (BINARY, NUMBER, CLASSES):
        raise Unloadable(f"output {output!r} is unknown; there are binary, number and classes")


def load(data: bytes, format: str = "skops") -> Engine:
    """The engine of a checked artifact. Raises `Unloadable`."""
    try:
        return load_engine(data, format)
    except Poison as poison:
        raise Unloadable(poison.reason) from poison


async def warm(registered: VersionRegistered, place: ArtifactPlace, data: bytes) -> LoadedModel:
    """Check, load, run once on one row and once on a batch, and compare golden rows, all in the version's own thread. Raises `Unloadable`."""
    check(data, place, registered.output)
    lane = Lane(f"model-{registered.deployment}-{registered.version}")
    try:
        engine = await lane.run(lambda: load(data, place.format), LOAD_WITHIN_S)
        model = LoadedModel(registered, engine, lane, footprint_bytes(data, place.format))
        for count in (1, WARM_ROWS):
            await _warm_by(model, count)
        await _try_golden(model, place.format)
    except (Unloadable, PredictFailed) as error:
        lane.close()
        raise Unloadable(str(error)) from error
    except TimeoutError:
        lane.close()
        raise Unloadable(f"loading took over {LOAD_WITHIN_S:g} s") from None
    return model


async def _warm_by(model: LoadedModel, count: int) -> None:
    scored = await model.score(np.zeros((count, len(model.registered.signature.columns)), np.float32))
    if len(scored.faults) == count:
        raise PredictFailed(f"{scored.faults[0]} in all of {count} rows of zeros")


async def _try_golden(model: LoadedModel, format: str) -> None:
    """It must say here what it said where it was made (an ONNX twin nearly so: it counts in float32)."""
    golden, columns = model.registered.golden, len(model.registered.signature.columns)
    if not golden:
        return
    rows = np.frombuffer(b"".join(found.row for found in golden), "<f4")
    if len(rows) != len(golden) * columns:
        raise Unloadable(f"its golden rows have {len(rows)} values, {len(golden)} rows of {columns} were expected")
    scored = await model.score(rows.reshape(len(golden), columns))
    for place, (wanted, score) in enumerate(zip(golden, scored.scores, strict=True)):
        value = math.nan if place in scored.faults or score.value is None else score.value
        if not abs(value - wanted.value) <= (GOLDEN_WITHIN if format == "skops" else GOLDEN_NEARLY):
            raise Unloadable(f"golden row {place} scores {value:.6g} here, where it was made {wanted.value:.6g}")


def predict(engine: Engine, rows: np.ndarray, output: str) -> Floats:
    """Shares of shape (n, classes), or numbers of shape (n,), as float64."""
    return engine.predict(rows, output)
