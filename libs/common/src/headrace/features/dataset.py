"""Point-in-time rows: the requests of a span with their labels, and their features folded as serving folds them.

A row's features are those of its instant; its label is the newest one that was known by the end of its horizon. So the
rows of a span whose horizon has passed stay the same however far the log has grown since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.bus.port import Record
from headrace.codec import Codec, Message
from headrace.errors import Poison
from headrace.events.inference import OutcomeObserved, PredictionRequested, Scalar
from headrace.events.registry import Signature
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.plan import plan_view
from headrace.features.rows import RowMaker, check_inputs, entities_of, pin_signature
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics

Floats = NDArray[np.float64]


@dataclass
class Rows:
    """Requests by instant: id, unit, `inputs`, view features (n, n_features) before defaults, label (NaN: unknown), instant."""

    ids: list[str]
    units: list[str]
    inputs: list[dict[str, Scalar]]
    features: Floats
    labels: Floats
    at_s: Floats
    offsets: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def matrix(self, deployment: DeploymentDefinition, signature: Signature) -> NDArray[np.float32]:
        """The rows as a version of this signature sees them."""
        return RowMaker(deployment, signature).rows(self.inputs, self.features)

    def signature(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Signature:
        """The signature whose vocabularies are the categories seen in these rows, sorted."""
        names = [field.name for field in deployment.inputs if field.kind == "category"]
        seen = {name: sorted({str(row[name]) for row in self.inputs if row.get(name) is not None}) for name in names}
        return pin_signature(project, deployment, seen)

    def labelled(self) -> "Rows":
        """Only the rows whose label is known."""
        kept = np.flatnonzero(~np.isnan(self.labels))
        return Rows(
            [self.ids[n] for n in kept],
            [self.units[n] for n in kept],
            [self.inputs[n] for n in kept],
            self.features[kept],
            self.labels[kept],
            self.at_s[kept],
            self.offsets,
        )


@dataclass
class Gathered:
    """What was read for one deployment: its requests of [from_s, to_s), its labels known by `clock_s`, events of its sources."""

    project: ProjectDefinition
    deployment: DeploymentDefinition
    topics: Topics
    from_s: float
    to_s: float
    clock_s: float
    requests: dict[str, tuple[float, str, PredictionRequested]] = field(default_factory=dict)
    labels: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    tables: dict[str, EventTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        used = {self.project.view(binding.view).source for binding in self.deployment.features}
        self.tables = {self.topics.of_source(name): EventTable(self.project.source(name)) for name in sorted(used)}

    def topic_names(self) -> list[str]:
        """The topics to read, by their full names."""
        return [self.topics.name("inference.requests"), self.topics.name("inference.outcomes"), *self.tables]

    def read(self, codec: Codec, record: Record) -> None:
        """One record of any of the topics; what cannot be read was dead-lettered by its owner and is passed over."""
        try:
            if record.topic in self.tables:
                event, origin = codec.decode_event(record)
                self.tables[record.topic].take_event(
                    event, origin, record.partition, record.offset, record.timestamp_ms
                )
            else:
                self.take(codec.decode(record))
        except Poison:
            return

    def take(self, message: Message) -> None:
        """A request or an outcome."""
        event, time_s = message.event, message.envelope.time_s
        if isinstance(event, PredictionRequested):
            self.request(message.envelope.id, time_s, _unit_of(message), event)
        elif isinstance(event, OutcomeObserved) and event.deployment == self.deployment.name:
            self.label(event.unit, time_s, event.label)

    def request(self, ident: str, at_s: float, unit: str, request: PredictionRequested) -> None:
        """A request; the first one of its id counts."""
        if request.deployment == self.deployment.name and self.from_s <= at_s < self.to_s:
            self.requests.setdefault(ident, (at_s, unit, request))

    def label(self, unit: str, known_s: float, label: float) -> None:
        """A label that became known at `known_s`."""
        if known_s <= self.clock_s:
            self.labels.setdefault(unit, []).append((known_s, label))

    def rows(self, offsets: Mapping[str, int]) -> Rows:
        """All requests with valid inputs, in order of instant, unit and id, with their features as of then."""
        found = self._ordered()
        at_s = np.array([at for at, _, _, _ in found], dtype=np.float64)
        inputs = [dict(request.inputs) for _, _, _, request in found]
        labels = np.array([self._label(at, unit) for at, unit, _, _ in found], dtype=np.float64)
        ids, units = [ident for _, _, ident, _ in found], [unit for _, unit, _, _ in found]
        return Rows(ids, units, inputs, self._features(inputs, at_s), labels, at_s, dict(offsets))

    def _ordered(self) -> list[tuple[float, str, str, PredictionRequested]]:
        valid = (
            (at_s, unit, ident, request)
            for ident, (at_s, unit, request) in self.requests.items()
            if check_inputs(self.deployment, request.inputs) is None
        )
        return sorted(valid, key=lambda row: row[:3])

    def _label(self, at_s: float, unit: str) -> float:
        definition = self.deployment.label
        if definition is None:
            return np.nan
        known = [found for found in self.labels.get(unit, ()) if found[0] <= at_s + definition.horizon_s]
        if known:
            return max(known, key=lambda found: found[0])[1]
        return 0.0 if definition.absent == "negative" else np.nan

    def _features(self, inputs: Iterable[Mapping[str, Scalar]], at_s: Floats) -> Floats:
        entities = [entities_of(self.deployment, row) for row in inputs]
        parts = []
        for binding in self.deployment.features:
            plan = plan_view(self.project, binding.view)
            table = self.tables[self.topics.of_source(plan.view.source)]
            found = as_of(plan, table, [row[binding.view] for row in entities], at_s, self.deployment.settle_s)
            parts.append(found.values)
        return np.hstack(parts) if parts else np.empty((len(at_s), 0))


def _unit_of(message: Message) -> str:
    return message.event.unit or (message.record.key or b"").decode("utf-8", "replace")
