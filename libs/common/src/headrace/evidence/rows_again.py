"""The rows of decisions made again: inputs from the requests, features folded from the sources' events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.errors import Poison
from headrace.events.definition import SourceDefinition
from headrace.events.inference import DecisionMade, PredictionRequested
from headrace.events.registry import Signature
from headrace.evidence.definitions import Then
from headrace.evidence.reading import Evidence
from headrace.evidence.remade import Part, row_again
from headrace.features.events import EventTable
from headrace.features.parity import applied_values, reach_of
from headrace.features.plan import ViewPlan, plan_view
from headrace.features.rows import RowMaker, entities_of, misfit, whole
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import Progress, read_up_to
from headrace.project.compile_streams import event_struct

# After so many events of a source those that no decision can need are dropped.
_THIN_EVERY = 200_000


@dataclass(frozen=True)
class Asked:
    """A decision with its request, the deployment as it was, and the signature of its row."""

    decision: DecisionMade
    request: PredictionRequested
    then: Then
    signature: Signature


async def rows_again(evidence: Evidence, asked: Sequence[Asked], progress: Progress) -> list[Part]:
    """The row of each decision, compared. `progress`: of reading the sources, each once."""
    tables = await _Tables.read(evidence, asked, progress)
    found: list[Part | None] = [None] * len(asked)
    for places in _by_definition(asked):
        for place, part in zip(places, _compared(evidence, tables, [asked[n] for n in places]), strict=True):
            found[place] = part
    return [part for part in found if part is not None]


async def values_for(
    evidence: Evidence, asked: Sequence[Asked], signature: Signature, progress: Progress
) -> list[bytes | str]:
    """The row of each request in the order of another signature, or why there is none."""
    tables = await _Tables.read(evidence, asked, progress)
    found: list[bytes | str] = [""] * len(asked)
    for places in _by_definition(asked):
        mine = [asked[n] for n in places]
        why = misfit(signature, mine[0].then.bare)
        rows = (
            [why or "its columns differ"] * len(mine) if why is not None else _made(evidence, tables, mine, signature)
        )
        for place, row in zip(places, rows, strict=True):
            found[place] = row
    return found


def _by_definition(asked: Sequence[Asked]) -> list[list[int]]:
    """The places of decisions of one deployment under one definition."""
    found: dict[tuple[int, str], list[int]] = {}
    for place, one in enumerate(asked):
        found.setdefault((id(one.then.project), one.then.deployment.name), []).append(place)
    return list(found.values())


def _compared(evidence: Evidence, tables: "_Tables", asked: Sequence[Asked]) -> list[Part]:
    then = asked[0].then
    bare = then.bare
    found: list[Part] = [Part("unknown")] * len(asked)
    by_signature: dict[str, list[int]] = {}
    for place, one in enumerate(asked):
        by_signature.setdefault(one.signature.digest, []).append(place)
    for places in by_signature.values():
        signature = asked[places[0]].signature
        if (why := misfit(signature, bare)) is not None:
            for place in places:
                found[place] = Part("unknown", f"the definition of that time is gone: {why}")
            continue
        rows = _made(evidence, tables, [asked[n] for n in places], signature)
        for place, row in zip(places, rows, strict=True):
            found[place] = _part(tables, asked[place], row)
    return found


def _part(tables: "_Tables", one: Asked, row: bytes) -> Part:
    named = {view: entity for view, entity in one.decision.entities.items() if entity is not None}
    now = {view: e for view, e in entities_of(one.then.deployment, one.request.inputs).items() if e is not None}
    if named != now:
        return Part("differs", f"entities then {named}, now {now}")
    part = row_again(one.decision.row, row, [column.name for column in one.signature.columns])
    if part.result != "differs":
        return part
    if (retired := tables.retired(one)) is not None:
        return Part("unknown", retired)
    return (
        part
        if one.then.is_certain
        else Part("unknown", "the definition of that time is gone, and by the present one it differs")
    )


def _made(evidence: Evidence, tables: "_Tables", asked: Sequence[Asked], signature: Signature) -> list[bytes]:
    """The rows of decisions under one definition."""
    then = asked[0].then
    topics = {source.name: evidence.topics.of_source(source.name) for source in then.project.sources}
    decisions = [one.decision for one in asked]
    values = applied_values(then.project, then.deployment, tables.tables, topics, decisions)
    maker = RowMaker(then.deployment, whole(signature, then.bare))
    made = maker.rows([one.request.inputs for one in asked], values)[:, : len(signature.columns)]
    return [row.tobytes() for row in np.ascontiguousarray(made, "<f4")]


class _Tables:
    """The sources' events that the decisions may need. `began`: per source partition its first offset on the log."""

    def __init__(self, tables: dict[str, EventTable], began: Mapping[TopicPartition, int]) -> None:
        self.tables, self._began = tables, began
        self._first_s: dict[str, float] = {}

    @staticmethod
    async def read(evidence: Evidence, asked: Sequence[Asked], progress: Progress) -> "_Tables":
        """Read every source once, up to the last offset that a decision names."""
        needs = _needs(asked)
        sources = {name: source for name, (source, _, _) in needs.items()}
        ends = _ends(evidence, asked, sources)
        there = set(await evidence.log.list_topics())
        ends = {tp: end for tp, end in ends.items() if tp.topic in there}
        present = await evidence.log.end_offsets(ends)
        ends = {tp: min(end, present[tp]) for tp, end in ends.items()}
        tables = {name: EventTable(source) for name, source in sources.items()}
        found = _Tables(tables, await evidence.log.begin_offsets(ends))
        by_topic = {evidence.topics.of_source(name): name for name in sources}
        evidence.codec.add_sources({topic: event_struct(sources[name]) for topic, name in by_topic.items()})
        counts = dict.fromkeys(tables, 0)

        def take(record: Record) -> None:
            name = by_topic[record.topic]
            try:
                event, origin = evidence.codec.decode_event(record)
            except Poison:
                return
            at_s = tables[name].take_event(event, origin, record.partition, record.offset, record.timestamp_ms)
            if at_s is None:
                return
            found._first_s[name] = min(found._first_s.get(name, at_s), at_s)
            counts[name] += 1
            if counts[name] % _THIN_EVERY == 0:
                _thin(tables[name], *needs[name][1:])

        await read_up_to(evidence.log, ends, take, progress)
        for name, table in tables.items():
            _thin(table, *needs[name][1:])
        return found

    def retired(self, one: Asked) -> str | None:
        """Why events that a decision was made from may be missing; None where all are there."""
        for plan in _plans(one.then):
            name = plan.view.source
            gone = any(begin > 0 and tp.topic.endswith(f"events.{name}.v1") for tp, begin in self._began.items())
            first_s, _ = reach_of(plan, np.array([one.decision.at_s]), one.then.deployment.feature_delay_s)
            if gone and first_s < self._first_s.get(name, np.inf):
                return f"events of {name} that it was made from are retired"
        return None


_Wanted = dict[tuple[str, ...], set[str]]


def _needs(asked: Sequence[Asked]) -> dict[str, tuple[SourceDefinition, _Wanted, tuple[float, float]]]:
    """Per source the entities by fields, and the interval of instants, that any decision may need."""
    found: dict[str, tuple[SourceDefinition, _Wanted, tuple[float, float]]] = {}
    for places in _by_definition(asked):
        then = asked[places[0]].then
        at_s = np.array([asked[n].decision.at_s for n in places])
        for plan in _plans(then):
            first_s, last_s = reach_of(plan, at_s, then.deployment.feature_delay_s)
            empty: tuple[SourceDefinition, _Wanted, tuple[float, float]] = (plan.source, {}, (np.inf, -np.inf))
            source, wanted, (low, high) = found.get(plan.view.source, empty)
            names = (asked[n].decision.entities.get(plan.view.name) for n in places)
            wanted.setdefault(plan.view.entity, set()).update(name for name in names if name is not None)
            found[plan.view.source] = source, wanted, (min(low, first_s), max(high, last_s))
    return found


def _plans(then: Then) -> list[ViewPlan]:
    return [plan_view(then.project, binding.view) for binding in then.deployment.features]


def _ends(
    evidence: Evidence, asked: Sequence[Asked], sources: Mapping[str, SourceDefinition]
) -> dict[TopicPartition, int]:
    """Per source partition the highest offset that a decision names."""
    topics = {evidence.topics.of_source(name) for name in sources}
    ends: dict[TopicPartition, int] = {}
    for one in asked:
        for name, offset in one.decision.applied.items():
            topic, _, partition = name.rpartition("/")
            if topic in topics:
                tp = TopicPartition(topic, int(partition))
                ends[tp] = max(ends.get(tp, 0), offset)
    return ends


def _thin(table: EventTable, wanted: _Wanted, within: tuple[float, float]) -> None:
    """Drop the events that no decision can need."""
    if not len(table):
        return
    kept = np.zeros(len(table), dtype=bool)
    for fields, names in wanted.items():
        index, codes = table.codes(fields)
        kept |= np.isin(codes, [index[name] for name in names if name in index])
    table.keep(kept & (table.available >= within[0]) & (table.available <= within[1]))
