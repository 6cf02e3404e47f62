"""Models from artifacts: checked, loaded as data (never as code), asked for the first time, then served.

What may be loaded, and how, is in `headrace.models`, one module per format. `try_out` is what a load check does in a child
process. The service does the same again in the version's own thread, once the load check is passed.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.errors import Poison
from headrace.events.failures import Failure, InvalidScore
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace.models.engine import Engine, Floats, by_class, footprint_bytes
from headrace.models.engine import load as load_engine
from headrace.models.frames import frame_of
from headrace.models.matching import matched
from headrace.models.proving import apart, within
from headrace_inference.adapters.model_worker import ModelWorker
from headrace_inference.core.batch import RowScores
from headrace_inference.core.constancy import ROWS, why_inconstant
from headrace_inference.core.faults import raised, text_of
from headrace_inference.core.isolation import Pace, predict_in_portions
from headrace_inference.core.outputs import BINARY, CLASSES, NUMBER, fault_of, faults_of_rows, scores_of

WARM_ROWS = 64
# How far two scores that should be one may lie apart; the second for engines that count in float32.
WITHIN, NEARLY = 1e-6, 1e-3
_CONSTANCY_CPU_S = 2.0


class Unloadable(Exception):
    """This artifact must not be served, here or anywhere; the message says why."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version that can be asked, by its `worker`. As a shadow it is asked by another, so that shadows never make an answer wait.

    `pace`: how fast it answers; `footprint_bytes`: an estimate of the memory that it takes.
    """

    registered: VersionRegistered
    engine: Engine
    worker: ModelWorker
    footprint_bytes: int = 0
    pace: Pace = field(default_factory=Pace)
    shadow_worker: ModelWorker = field(default_factory=lambda: ModelWorker("shadow"))


def ask(registered: VersionRegistered, engine: Engine, rows: np.ndarray, pace: Pace, until_s: float) -> RowScores:
    """One call, in the thread of a worker, and what it gave. `until_s`: when to begin no further portion, on the monotonic clock.

    Raises `MemoryError` only.
    """
    output, columns = registered.output, registered.signature.columns

    def predict_rows(part: np.ndarray) -> Floats:
        raw = predict(engine, frame_of(part, columns) if registered.signature.frame else part, output)
        return by_class(raw, len(registered.classes), registered.class_places)

    count = len(rows)
    try:
        predicted = predict_in_portions(predict_rows, rows, pace, time.monotonic, until_s, columns)
        raw = predicted.raw
        if raw is None:
            return RowScores((), predicted.faults, predicted.unasked)
        if (fault := fault_of(raw, count, output, len(registered.classes))) is not None:
            return RowScores((), dict.fromkeys(range(count), InvalidScore(fault)))
        found = faults_of_rows(raw[: count - len(predicted.unasked)], output)
        faults: dict[int, Failure] = {row: InvalidScore(reason) for row, reason in found.items()}
        scores = scores_of(raw, output, registered.version, registered.model_digest)
    except MemoryError:
        raise
    except BaseException as error:
        # NB: a model is foreign code: whatever it raises is its failure, not a bug of this loop.
        return RowScores((), dict.fromkeys(range(count), raised(text_of(error))))
    return RowScores(scores, faults | predicted.faults, predicted.unasked)


@dataclass(frozen=True, slots=True)
class Tried:
    """A version that was loaded and asked for the first time."""

    registered: VersionRegistered
    engine: Engine
    footprint_bytes: int
    pace: Pace = field(default_factory=Pace)

    def ask(self, rows: np.ndarray) -> RowScores:
        """The scores of rows, without a limit of time."""
        return ask(self.registered, self.engine, rows, self.pace, math.inf)


def try_out(registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray) -> Tried:
    """Check and load a version, compare its scores of the golden rows, ask rows that the contract allows (`rows`), and compare a few rows
    alone with the same rows together. May take long. Raises `Unloadable`, and `MemoryError`.
    """
    check(data, place, registered.output)
    engine = matched(load(data, place.format), registered.signature)
    tried = Tried(registered, engine, footprint(data, place.format))
    columns = len(registered.signature.columns)
    _try_golden(tried, place.format)
    zeros = np.zeros((WARM_ROWS, columns), np.float32)
    _warm_by(tried, [rows[:1], rows, zeros[:1], zeros], is_proven=bool(registered.golden))
    _try_constancy(tried, rows, NEARLY if place.format == "onnx" else WITHIN)
    return tried


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
    except MemoryError:
        raise
    except Poison as poison:
        if "bad_alloc" in poison.reason:  # as C++ names it
            raise MemoryError(poison.reason) from poison
        raise Unloadable(poison.reason) from poison
    except Exception as error:
        # NB: crafted bytes make a library raise anything.
        raise Unloadable(f"artifact cannot be loaded: {text_of(error)}") from error


def footprint(data: bytes, format: str) -> int:
    """About how much memory it takes once it is loaded, as its file declares. Raises `Unloadable`."""
    try:
        return footprint_bytes(data, format)
    except Exception as error:
        # NB: crafted bytes make zipfile raise anything.
        raise Unloadable(f"artifact is not a {format} file: {type(error).__name__}: {error}") from error


def _warm_by(tried: Tried, batches: Sequence[np.ndarray], *, is_proven: bool) -> None:
    """The version must score some row of all these: rows that its contract allows, or zeros where that is not known. `is_proven`: it has
    scored its golden rows already.
    """
    first: Failure | None = None
    for rows in batches:
        if not len(rows):
            continue
        scored = tried.ask(rows)
        if len(scored.faults) < len(rows):
            return
        first = first or scored.faults[0]
    if first is not None and not is_proven:
        raise Unloadable(f"{first.reason} in all of {sum(map(len, batches))} rows that it was first asked")


def _try_golden(tried: Tried, format: str) -> None:
    """The scores of the golden rows here must be those where the version was made (of an ONNX twin nearly so: it counts in float32)."""
    golden, columns = tried.registered.golden, len(tried.registered.signature.columns)
    if not golden:
        return
    rows = np.frombuffer(b"".join(found.row for found in golden), "<f4")
    if len(rows) != len(golden) * columns:
        raise Unloadable(f"its golden rows have {len(rows)} values, {len(golden)} rows of {columns} were expected")
    scores = _values(tried, rows.reshape(len(golden), columns))
    for place, found in enumerate(golden):
        wanted = np.array([found.probabilities or (found.value,)], np.float64)
        if scores.shape[1] != wanted.shape[1]:
            raise Unloadable(f"golden row {place} has {wanted.shape[1]} values, here it scores {scores.shape[1]}")
        if not apart(scores[place : place + 1], wanted)[0] <= within(format):
            worst = int(np.nan_to_num(np.abs(scores[place] - wanted[0]), nan=np.inf).argmax())
            was, now = wanted[0, worst], scores[place, worst]
            raise Unloadable(f"golden row {place} scores {now:.6g} here, where it was made {was:.6g}")


def _try_constancy(tried: Tried, rows: np.ndarray, within: float) -> None:
    """The score of a row must depend on that row alone. Half of the rows that are asked are such as the contract allows, half are drawn.
    A slow model is asked fewer of them.
    """
    columns = len(tried.registered.signature.columns)
    drawn = np.random.default_rng(0).normal(size=(ROWS - len(rows[: ROWS // 2]), columns)).astype(np.float32)
    asked = np.concatenate([rows[: ROWS // 2], drawn])
    until_s = time.process_time() + _CONSTANCY_CPU_S
    together, again = _values(tried, asked), _values(tried, asked, until_s)
    alone = [_values(tried, row.reshape(1, -1), until_s) for row in asked]
    width = max(found.shape[1] for found in alone)
    each = np.concatenate([np.broadcast_to(found, (1, width)) for found in alone])
    reason = why_inconstant(together, again, each, within)
    if reason is not None:
        raise Unloadable(f"{reason} (a network is to be exported in inference mode, not in training mode)")


def _values(tried: Tried, rows: np.ndarray, until_s: float = math.inf) -> np.ndarray:
    """The scores of rows, shape (rows, values), NaN where there is none, or when more CPU than `until_s` was used by this process."""
    # NB: with a pace of its own, for a row alone is a slow one.
    late = time.process_time() > until_s
    scored = None if late else ask(tried.registered, tried.engine, rows, Pace(), math.inf)
    if scored is None or not scored.scores:
        return np.full((len(rows), 1), np.nan)
    found = np.array([score.probabilities or (score.value,) for score in scored.scores], np.float64)
    found[list(scored.faults)] = np.nan
    return found


def predict(engine: Engine, rows: np.ndarray, output: str) -> Floats:
    """Probabilities of shape (n, classes), or numbers of shape (n,), as float64."""
    return engine.predict(rows, output)
