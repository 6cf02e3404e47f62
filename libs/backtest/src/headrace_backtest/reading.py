"""Reads a history from the log: requests and labels as the trainer reads them, and the rows that were served.

A row is the logged one where it has the columns of the version that answers first. All others are made from the request and
the events of sources, as the trainer makes its rows: those before the first decision, and those of other vocabularies.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, Served
from headrace.events.registry import Signature, VersionRegistered
from headrace.features.dataset import Gathered, Rows
from headrace.features.outcomes import SKEW_S
from headrace.features.own import is_foreign
from headrace.features.row_cache.gathering import Gathering
from headrace.features.rows import bare_signature
from headrace.instants import MAX_AHEAD_S
from headrace.log.codec import Codec
from headrace.log.envelope import format_instant
from headrace.log.port import Log, Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.topics import Topics
from headrace.project.labels import CLASSES
from headrace_backtest.history import History, Matrix
from headrace_backtest.versions import Scoring, Version
from headrace_trainer.adapters.champion import engine_at, read_versions
from headrace_trainer.core.target import target_of

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Source:
    """Where a history is read. `deployment`: as it was applied. The stretch is [from_s, to_s); `now_s`: the present."""

    log: Log
    codec: Codec
    topics: Topics
    project: ProjectDefinition
    deployment: DeploymentDefinition
    from_s: float
    to_s: float
    now_s: float


@dataclass
class Logged:
    """The rows that were served in the stretch, by request. `first`: the version of the first answer."""

    rows: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    first: tuple[float, int] = (math.inf, 0)


@dataclass(frozen=True)
class Read:
    """What was read. `start`: the version that answered first, None where none can be loaded. `notes`: for people."""

    history: History
    start: Version | None
    notes: tuple[str, ...]


async def read(source: Source, progress: Progress) -> Read:
    """Read what a back-test needs. Raises `Misconfigured` where there is nothing in the stretch."""
    deployment, training, label = source.deployment, source.deployment.training, source.deployment.label
    if label is None or training is None:
        raise Misconfigured(
            f"{deployment.name} declares no {'label' if label is None else 'training=Training(build=...)'}: there is"
            " nothing to retrain, and no policy to try"
        )
    rows, known_s = await _rows(source, training.history_s, progress)
    count = int(((rows.at_s >= source.from_s) & (rows.at_s < source.to_s)).sum())
    if not count:
        raise Misconfigured(_nothing(source, rows))
    served = await _served(source)
    versions = await read_versions(source.log, source.codec, source.topics, deployment.name)
    by_number = {found.version: found for found in versions.registered}
    first = by_number.get(served.first[1])
    loaded = None if first is None else await _loaded(source, first, rows)
    signature = loaded.registered.signature if loaded is not None else _before(rows, source)
    _refuse_other_columns(
        source, served, {found.signature.digest: found.signature for found in by_number.values()}, signature
    )
    matrix = rows.matrix(deployment, signature)
    taken = _overlay(matrix, rows, served, signature)
    return Read(_history(source, rows, matrix, known_s, signature), loaded, _notes(source, count, taken, loaded))


async def _rows(source: Source, history_s: float, progress: Progress) -> tuple[Rows, np.ndarray]:
    """All requests from the history of the first retrain on, with features, and when their labels became known."""
    begin_s, project, deployment = source.from_s - history_s, source.project, source.deployment

    def make() -> Gathered:
        return Gathered(project, deployment, source.topics, begin_s, source.to_s, source.now_s, begin_s - SKEW_S)

    gathering = Gathering(source.log, source.codec, make, None, forgets=True)
    try:
        await gathering.begin()
        ends = await gathering.pin()
        await gathering.read(ends, lambda done, total: progress(done / max(total, 1)))
    finally:
        gathering.close()
    rows = gathering.gathered.rows({})
    return rows, gathering.gathered.known_s(rows)


async def _served(source: Source) -> Logged:
    """The rows of the decisions in the stretch."""
    found, name = Logged(), source.deployment.name

    def take(record: Record) -> None:
        if is_foreign(record, name):
            return
        event = source.codec.decode(record).event
        if (
            not isinstance(event, DecisionMade)
            or event.deployment != name
            or not source.from_s <= event.at_s < source.to_s
        ):
            return
        if event.row:
            found.rows.setdefault(event.request_id, (event.signature, event.row))
        if isinstance(event.answer, Served):
            found.first = min(found.first, (event.at_s, event.answer.score.version))

    ends = await pin_offsets(source.log, [source.topics.name("inference.decisions")])
    since_ms = max(0, int((source.from_s - MAX_AHEAD_S) * 1000))
    await read_up_to(source.log, ends, take, starts=await source.log.offsets_at(list(ends), since_ms))
    return found


async def _loaded(source: Source, registered: VersionRegistered, rows: Rows) -> Version | None:
    """A registered version that scores rows here; None where today's views make other rows, or it cannot be loaded."""
    bare, own = bare_signature(source.project, source.deployment), registered.signature
    is_same = own.views_digest == bare.views_digest and [c.name for c in own.columns] == [c.name for c in bare.columns]
    if own.frame or not is_same or source.deployment.label is None:
        return None
    target = target_of(source.deployment.label, rows.labels[~np.isnan(rows.labels)])
    engine = await engine_at(source.log, source.topics, registered.place, own)
    twin = await engine_at(source.log, source.topics, registered.twin, own)
    if engine is None or not target.is_answered_by(registered):
        return None

    def scores(matrix: Matrix) -> np.ndarray:
        return target.ask(engine, matrix, registered.class_places)

    def of_twin(matrix: Matrix) -> np.ndarray:
        assert twin is not None  # used only where there is one
        return target.ask(twin, matrix, target.places_of_twin(twin))

    scoring: Scoring = scores
    return Version(registered, scoring, None if twin is None else of_twin)


def _before(rows: Rows, source: Source) -> Signature:
    """The signature of a version that is trained at the beginning of the stretch."""
    before = rows.taken(np.flatnonzero(rows.at_s < source.from_s))
    return before.signature(source.project, source.deployment)


def _refuse_other_columns(source: Source, served: Logged, known: Mapping[str, Signature], signature: Signature) -> None:
    """Rows of other columns cannot be scored by the same versions."""
    names = [column.name for column in signature.columns]
    for digest in {digest for digest, _ in served.rows.values()}:
        found = known.get(digest)
        if found is None or digest == signature.digest:
            continue
        if found.views_digest != signature.views_digest or [column.name for column in found.columns] != names:
            raise Misconfigured(
                f"the columns of {source.deployment.name} changed between {format_instant(source.from_s)} and"
                f" {format_instant(source.to_s)}: choose a stretch in which all rows have the columns of today's project"
            )


def _overlay(matrix: Matrix, rows: Rows, served: Logged, signature: Signature) -> int:
    """Put the logged rows in place of those that were made again; returns how many."""
    count, width = 0, matrix.shape[1]
    for place, ident in enumerate(rows.ids):
        digest, row = served.rows.get(ident, ("", b""))
        if digest == signature.digest and len(row) == 4 * width:
            matrix[place] = np.frombuffer(row, dtype="<f4")
            count += 1
    return count


def _history(source: Source, rows: Rows, matrix: Matrix, known_s: np.ndarray, signature: Signature) -> History:
    label = source.deployment.label
    assert label is not None  # asked before
    is_told = np.isfinite(known_s) & ~np.isnan(rows.labels)
    # NB: where a missing label counts as negative, it does so once the horizon has passed.
    over_s = np.where(np.isnan(rows.labels), math.inf, np.where(is_told, known_s, rows.at_s + label.horizon_s))
    classes = len(target_of(label, rows.labels[~np.isnan(rows.labels)]).classes) if label.kind == CLASSES else 2
    return History(
        rows.ids, rows.units, rows.at_s, matrix, rows.labels, over_s, is_told, signature, label.kind, classes
    )


def _nothing(source: Source, rows: Rows) -> str:
    name, span = source.deployment.name, f"{format_instant(source.from_s)} to {format_instant(source.to_s)}"
    if not len(rows):
        return f"the log holds no request of {name} from {span}, nor before: nothing can be replayed"
    return (
        f"the log holds no request of {name} from {span}: its requests lie between"
        f" {format_instant(float(rows.at_s[0]))} and {format_instant(float(rows.at_s[-1]))}"
    )


def _notes(source: Source, count: int, taken: int, start: Version | None) -> tuple[str, ...]:
    notes = []
    if start is None:
        notes.append(
            "no version that answered then can be loaded: the first one is trained on what was labelled before"
        )
    if taken < count and source.deployment.features:
        notes.append(
            f"{count - taken:,} of {count:,} rows were not logged with these columns: they are made from the sources"
        )
    return tuple(notes)
