"""Rows by offsets: requests, labels and events of the log up to pinned end offsets, folded as serving folds them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.bus.port import Log, TopicPartition
from headrace.codec import Codec, Message
from headrace.errors import Poison
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.registry import Signature
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.plan import plan_view
from headrace.features.rows import RowMaker, check_inputs, entities_of, pin_signature
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics
from headrace_trainer.core.splits import Span

Floats = NDArray[np.float64]


@dataclass
class Rows:
    """Labelled requests of a span: `inputs` per row, view features (n, n_features), label and instant per row."""

    inputs: list[dict]
    features: Floats
    labels: Floats
    at_s: Floats
    offsets: dict[str, int]

    def matrix(self, deployment: DeploymentDefinition, signature: Signature) -> NDArray[np.float32]:
        """The rows as a version of this signature sees them."""
        return RowMaker(deployment, signature).rows(self.inputs, self.features)

    def signature(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Signature:
        """The signature whose vocabularies are the categories seen in these rows, sorted."""
        names = [field.name for field in deployment.inputs if field.kind == "category"]
        seen = {name: sorted({str(row[name]) for row in self.inputs if row.get(name) is not None}) for name in names}
        return pin_signature(project, deployment, seen)


class Gathered:
    """What was read for one deployment."""

    def __init__(
        self, project: ProjectDefinition, deployment: DeploymentDefinition, topics: Topics, span: Span, clock_s: float
    ) -> None:
        self.project, self.deployment, self.span, self.clock_s = project, deployment, span, clock_s
        used = {project.view(binding.view).source for binding in deployment.features}
        self.tables = {topics.of_source(name): EventTable(project.source(name)) for name in sorted(used)}
        self.requests: dict[str, tuple[float, PredictionRequested]] = {}
        self.labels: dict[str, tuple[float, float]] = {}

    def take(self, message: Message) -> None:
        """One record of any of the topics."""
        event, time_s = message.event, message.envelope.time_s
        if isinstance(event, PredictionRequested):
            if event.deployment == self.deployment.name and self.span.from_s <= time_s < self.span.to_s:
                key = (message.record.key or b"").decode("utf-8", "replace")
                self.requests.setdefault(message.envelope.id, (time_s, _with_unit(event, key)))
        elif isinstance(event, OutcomeObserved):
            if (
                event.deployment == self.deployment.name
                and time_s <= self.clock_s
                and time_s >= self.labels.get(event.unit, (-1e18,))[0]
            ):
                self.labels[event.unit] = (time_s, event.label)
        elif message.record.topic in self.tables:
            self.tables[message.record.topic].take(message)

    def rows(self, offsets: dict[str, int]) -> Rows:
        """Requests with a label and valid inputs, in order of their instants, with their features as of then."""
        found = sorted(
            ((at, request) for at, request in self.requests.values()), key=lambda pair: (pair[0], pair[1].unit or "")
        )
        labelled = [(at, r, self._label(at, r)) for at, r in found if check_inputs(self.deployment, r.inputs) is None]
        kept = [(at, request, label) for at, request, label in labelled if label is not None]
        at_s = np.array([at for at, _, _ in kept])
        inputs = [dict(request.inputs) for _, request, _ in kept]
        labels = np.array([label for _, _, label in kept], dtype=np.float64)
        return Rows(inputs, self._features(inputs, at_s), labels, at_s, offsets)

    def _label(self, at_s: float, request: PredictionRequested) -> float | None:
        definition = self.deployment.label
        known = self.labels.get(request.unit or "")
        if definition is not None and known is not None and known[0] <= at_s + definition.horizon_s:
            return known[1]
        return 0.0 if definition is not None and definition.absent == "negative" else None

    def _features(self, inputs: list[dict], at_s: Floats) -> Floats:
        entities = [entities_of(self.deployment, row) for row in inputs]
        parts = []
        for binding in self.deployment.features:
            plan = plan_view(self.project, binding.view)
            table = next(found for found in self.tables.values() if found.source.name == plan.view.source)
            parts.append(
                as_of(plan, table, [row[binding.view] for row in entities], at_s, self.deployment.settle_s).values
            )
        return np.hstack(parts) if parts else np.empty((len(inputs), 0))


def _with_unit(request: PredictionRequested, key: str) -> PredictionRequested:
    return (
        request if request.unit else PredictionRequested(request.deployment, request.inputs, key, request.deadline_ms)
    )


async def pin_offsets(log: Log, topics: list[str]) -> dict[TopicPartition, int]:
    """Where every partition of these topics ends now."""
    return await log.end_offsets([tp for topic in topics for tp in await log.partitions(topic)])


async def read_up_to(
    log: Log,
    codec: Codec,
    ends: Mapping[TopicPartition, int],
    take: Callable[[Message], None],
    progress: Callable[[float], None],
) -> None:
    """Feed every record before `ends` to `take`; what cannot be read was dead-lettered by its owner and is passed over."""
    reader = await log.reader(list(ends), "beginning")
    total, done = max(sum(ends.values()), 1), 0
    try:
        while any([await reader.position(tp) < end for tp, end in ends.items()]):
            records = await reader.fetch(0.5, 5000)
            for record in records:
                if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    _take(codec, record, take)
            done += len(records)
            progress(min(done / total, 1.0))
    finally:
        await reader.close()


def _take(codec: Codec, record, take: Callable[[Message], None]) -> None:
    try:
        message = codec.decode(record)
    except Poison:
        return
    take(message)
