"""Point-in-time rows: the requests of an interval with labels, and with features folded as in serving.

The features of a row are those of its instant; `headrace.features.outcomes` decides which outcome is its label. So rows
whose horizon has passed stay the same however far the log has grown since. Everything is kept in columns: a million
requests take some hundred megabytes, not gigabytes.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition, LabelDefinition, ProjectDefinition
from headrace.events.inference import PredictionRequested, Scalar
from headrace.events.registry import Signature
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.outcomes import (
    SECOND,
    STRAY,
    USED,
    Asked,
    Table,
    asked,
    counts_of,
    fates_of,
    key_of,
    labels_of,
    packed,
    table_of,
)
from headrace.features.own import Own, own_of
from headrace.features.plan import SLACK_S, plan_view
from headrace.features.rows import RowMaker, check_inputs, entities_of, pin_signature
from headrace.instants import MAX_AHEAD_S
from headrace.log.codec import Codec
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.labels import value_of, why_not_label

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# How many rows are made at once, and how many events are put into columns at once.
_ROWS, _EVENTS = 50_000, 65_536
# Every whole number up to this one is exact in float64.
_EXACT = 2**53


class Inputs(Sequence[dict[str, Scalar]]):
    """The inputs of many requests, one column per declared input. As a sequence it yields one dict per request.

    Numbers are float64, NaN for null: 7 and 7.0 name one entity. Whole numbers that float64 cannot hold are kept
    separately, since they name other entities than their neighbours. Equal texts are stored once.
    """

    def __init__(self, deployment: DeploymentDefinition) -> None:
        # NB: older definitions have no kinds. They name entities by the text of a value, so that 7 and 7.0 differ.
        as_they_came = {name for binding in deployment.features if not binding.kinds for name in binding.fields}
        self._columns: dict[str, array[float] | list[Any]] = {
            found.name: array("d") if found.kind == "number" and found.name not in as_they_came else []
            for found in deployment.inputs
        }
        self._exact: dict[str, dict[int, int]] = {}
        self._texts: dict[str, str] = {}
        self._count = 0
        self._numbers = [(name, column) for name, column in self._columns.items() if isinstance(column, array)]
        self._others = [(name, column) for name, column in self._columns.items() if isinstance(column, list)]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> dict[str, Scalar]: ...
    @overload
    def __getitem__(self, place: slice) -> "Inputs": ...
    def __getitem__(self, place: int | slice) -> "dict[str, Scalar] | Inputs":
        if isinstance(place, slice):
            return self.taken(range(*place.indices(self._count)))
        found = {name: _there(column[place]) for name, column in self._columns.items()}
        if self._exact:
            place = range(self._count)[place]
            found |= {name: exact[place] for name, exact in self._exact.items() if place in exact}
        return found

    def __iter__(self) -> Iterator[dict[str, Scalar]]:
        return (self[place] for place in range(self._count))

    def column(self, name: str) -> Iterator[Scalar]:
        """One input of all requests, None where it is missing."""
        if name in self._exact:
            return (self[place][name] for place in range(self._count))
        return map(_there, self._columns[name])

    def add(self, inputs: Mapping[str, Scalar]) -> None:
        """Add the inputs of one request, which must keep the contract."""
        get, texts = inputs.get, self._texts
        for name, column in self._numbers:
            value = get(name)
            column.append(math.nan if value is None else float(value))
            if type(value) is int and not -_EXACT <= value <= _EXACT and value != float(value):
                self._exact.setdefault(name, {})[self._count] = value
        for name, column in self._others:
            value = get(name)
            column.append(texts.setdefault(value, value) if type(value) is str else value)
        self._count += 1

    def taken(self, places: Iterable[int]) -> "Inputs":
        """The requests at the given places, in that order."""
        chosen = list(places)
        found = Inputs.__new__(Inputs)
        found._texts, found._count = {}, len(chosen)
        found._exact = {
            name: {place: exact[n] for place, n in enumerate(chosen) if n in exact}
            for name, exact in self._exact.items()
        }
        found._columns = {
            name: array("d", map(column.__getitem__, chosen))
            if isinstance(column, array)
            else [column[n] for n in chosen]
            for name, column in self._columns.items()
        }
        return found


def _there(value: Any) -> Any:
    return None if value != value else value


@dataclass
class Rows:
    """Requests ordered by instant. `features`: (n, n_features) before defaults; `labels`: NaN for unknown."""

    ids: list[str]
    units: list[str]
    inputs: Inputs
    features: Floats
    labels: Floats
    at_s: Floats
    offsets: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def matrix(self, deployment: DeploymentDefinition, signature: Signature) -> NDArray[np.float32]:
        """The rows as a version of this signature gets them: float32 (n, n_columns)."""
        maker = RowMaker(deployment, signature)
        found = np.empty((len(self), len(signature.columns)), dtype=np.float32)
        for begin in range(0, len(self), _ROWS):
            part = slice(begin, begin + _ROWS)
            found[part] = maker.rows(self.inputs[part], self.features[part])
        return found

    def defaulted(self, deployment: DeploymentDefinition, signature: Signature) -> NDArray[np.bool_] | None:
        """Where a default stands for a feature without a value, of the shape of `matrix`; None where no feature has a default."""
        return RowMaker(deployment, signature).defaulted(self.features)

    def signature(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Signature:
        """The signature whose vocabularies are the categories in these rows, sorted."""
        names = [field.name for field in deployment.inputs if field.kind == "category"]
        seen = {name: sorted({str(value) for value in self.inputs.column(name) if value is not None}) for name in names}
        return pin_signature(project, deployment, seen)

    def labelled(self) -> "Rows":
        """Only the rows with a known label."""
        return self.taken(np.flatnonzero(~np.isnan(self.labels)))

    def taken(self, kept: Ints) -> "Rows":
        """The rows at the given places, in that order."""
        return Rows(
            [self.ids[n] for n in kept],
            [self.units[n] for n in kept],
            self.inputs.taken(kept.tolist()),
            self.features[kept],
            self.labels[kept],
            self.at_s[kept],
            self.offsets,
        )


@dataclass
class _Invalid:
    """Requests whose inputs break the contract: units and ids as hashed by `key_of`, and instants."""

    units: "array[int]" = field(default_factory=lambda: array("Q"))
    at_s: "array[float]" = field(default_factory=lambda: array("d"))
    ids: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, unit: str, at_s: float, ident: str) -> None:
        self.units.append(key_of(unit))
        self.at_s.append(at_s)
        self.ids.append(key_of(ident))

    def asked(self) -> Asked:
        units, ids = (np.array(found, dtype=np.uint64) for found in (self.units, self.ids))
        return Asked(units, np.array(self.at_s, dtype=np.float64), ids)


@dataclass
class Gathered:
    """What was read for one deployment: its requests of [from_s, to_s), its outcomes, and events of its sources.

    `known_from_s`: outcomes that became known earlier are not taken, since they belong to no request of the interval.
    Minus infinity takes all, so that the fate of each can be reported.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    topics: Topics
    from_s: float
    to_s: float
    clock_s: float
    known_from_s: float = -math.inf
    tables: dict[str, EventTable] = field(default_factory=dict)
    _outcomes: bytearray = field(default_factory=bytearray)
    _seen: set[str] = field(default_factory=set)
    _ids: list[str] = field(default_factory=list)
    _units: list[str] = field(default_factory=list)
    _at_s: "array[float]" = field(default_factory=lambda: array("d"))
    _invalid: "_Invalid" = field(default_factory=lambda: _Invalid())
    _compact_at: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        used = {self.project.view(binding.view).source for binding in self.deployment.features}
        self.tables = {self.topics.of_source(name): EventTable(self.project.source(name)) for name in sorted(used)}
        self._inputs = Inputs(self.deployment)

    def topic_names(self) -> list[str]:
        """The full names of the topics to read."""
        return [self.topics.name("inference.requests"), self.topics.name("inference.outcomes"), *self.tables]

    @property
    def events_from_s(self) -> float:
        """No earlier event can change a row, since views look back by at most their longest window."""
        views = [self.project.view(binding.view) for binding in self.deployment.features]
        windows = [feature.window_s for view in views for feature in view.features]
        return self.from_s - max(windows, default=0) - self.deployment.feature_delay_s - SLACK_S

    async def starts(self, log: Log) -> dict[TopicPartition, int]:
        """The offsets from which to read requests and outcomes.

        A record may be dated at most `MAX_AHEAD_S` after its append time, so records appended earlier cannot matter.
        """
        found: dict[TopicPartition, int] = {}
        for noun, since_s in (("inference.requests", self.from_s), ("inference.outcomes", self.known_from_s)):
            if math.isfinite(since_s):
                partitions = await log.partitions(self.topics.name(noun))
                found |= await log.offsets_at(partitions, max(0, int((since_s - MAX_AHEAD_S) * 1000)))
        return found

    def read(self, codec: Codec, record: Record) -> Own | None:
        """Read one record of any of the topics. A record that cannot be read was dead-lettered by its owner, and is
        skipped.

        Returns the request or outcome where it is one of this deployment, else None.
        """
        if record.topic in self.tables:
            self._read_event(codec, record)
            return None
        found = own_of(codec, record, self.deployment.name)
        if found is not None:
            self.give(found)
        return found

    def give(self, own: Own) -> None:
        """Take a request or an outcome. An outcome whose label is not of the deployment's kind is skipped."""
        label, event = self.deployment.label, own.outcome
        if own.request is not None:
            self.request(own.id, own.at_s, own.unit, own.request)
        if event is None or label is None or own.at_s < self.known_from_s or why_not_label(label, event.label):
            return
        self.label(own.unit, own.at_s, value_of(label, event.label), own.id, event.request_id, event.corrects)

    def _read_event(self, codec: Codec, record: Record) -> None:
        try:
            event, origin = codec.decode_event(record)
        except Poison:
            return
        table = self.tables[record.topic]
        table.take_event(event, origin, record.partition, record.offset, record.timestamp_ms)
        self._compact(record.topic)

    def request(self, ident: str, at_s: float, unit: str, request: PredictionRequested) -> None:
        """Take a request. The first one of an id counts, if its inputs are valid."""
        if request.deployment != self.deployment.name or not self.from_s <= at_s < self.to_s or ident in self._seen:
            return
        self._seen.add(ident)
        if check_inputs(self.deployment, request.inputs) is None:
            self._ids.append(ident)
            self._units.append(unit)
            self._at_s.append(at_s)
            self._inputs.add(request.inputs)
        elif math.isinf(self.known_from_s):
            self._invalid.add(unit, at_s, ident)

    def label(
        self,
        unit: str,
        known_s: float,
        value: float,
        ident: str = "",
        request_id: str | None = None,
        corrects: str | None = None,
    ) -> None:
        """Take an outcome that became known at `known_s`."""
        self._outcomes += packed(unit, value, known_s, ident, request_id, corrects)

    def rows(self, offsets: Mapping[str, int]) -> Rows:
        """All requests with valid inputs, ordered by instant, unit and id, with their features as of their instants."""
        order = sorted(range(len(self._ids)), key=lambda n: (self._at_s[n], self._units[n], self._ids[n]))
        ids, units = [self._ids[n] for n in order], [self._units[n] for n in order]
        at_s = np.array(self._at_s, dtype=np.float64)[order] if order else np.empty(0)
        inputs = self._inputs.taken(order)
        labels = self._labels(ids, units, at_s)
        return Rows(ids, units, inputs, self._features(inputs, at_s), labels, at_s, dict(offsets))

    def _labels(self, ids: Sequence[str], units: Sequence[str], at_s: Floats) -> Floats:
        """The labels that are known by the clock, shape (n,), NaN for none."""
        label = self.deployment.label
        if label is None:
            return np.full(len(ids), np.nan)
        return labels_of(label, asked(units, at_s, ids), table_of(self._outcomes), self.clock_s).labels

    def known_s(self, rows: Rows) -> Floats:
        """When the first outcome of each row became known, shape (n,), inf where none did by the clock."""
        label = self.deployment.label
        if label is None:
            return np.full(len(rows), math.inf)
        joined = labels_of(label, asked(rows.units, rows.at_s, rows.ids), table_of(self._outcomes), self.clock_s)
        return np.where(joined.source >= 0, joined.first_s, math.inf)

    def outcomes(self) -> dict[str, int]:
        """The number of outcomes per fate (`FATES`) with respect to the requests that are rows.

        `of_invalid_request`: outcomes of requests whose inputs break the contract. They do not count as
        `of_no_request`.
        """
        label, at_s = self.deployment.label, np.array(self._at_s, dtype=np.float64)
        outcomes = table_of(self._outcomes)
        if label is None:
            return {}
        fates = fates_of(label, asked(self._units, at_s, self._ids), outcomes)
        is_invalid = (fates == STRAY) & self._is_of_invalid(label, outcomes)
        return counts_of(fates[~is_invalid]) | {"of_invalid_request": int(is_invalid.sum())}

    def _is_of_invalid(self, label: LabelDefinition, outcomes: Table) -> NDArray[np.bool_]:
        """Whether each outcome would be the label of a request with invalid inputs, shape (m,)."""
        return np.isin(fates_of(label, self._invalid.asked(), outcomes), (USED, SECOND))

    def _features(self, inputs: Iterable[Mapping[str, Scalar]], at_s: Floats) -> Floats:
        entities = [entities_of(self.deployment, row) for row in inputs] if self.deployment.features else []
        parts = []
        for binding in self.deployment.features:
            plan = plan_view(self.project, binding.view)
            table = self.tables[self.topics.of_source(plan.view.source)]
            found = as_of(plan, table, [row[binding.view] for row in entities], at_s, self.deployment.feature_delay_s)
            parts.append(found.values)
        return np.hstack(parts) if parts else np.empty((len(at_s), 0))

    def _compact(self, topic: str) -> None:
        """Put the events into columns each time that a table has doubled."""
        table = self.tables[topic]
        if len(table) >= self._compact_at.get(topic, _EVENTS):
            self._compact_at[topic] = 2 * len(table)
            if not np.isnan(table.available).any():
                table.drop_before(-math.inf)
