"""What may pass: raw bytes within limits on the way in, typed events of the pipeline's own sources on the way out."""

import math
import numbers
import re
from datetime import datetime
from typing import Any

import msgspec

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import LabelDefinition, PipelineDefinition, ProjectDefinition, SourceDefinition
from headrace.events.inference import OutcomeObserved
from headrace.features.plan import refusal
from headrace.instants import instant_s, why_not
from headrace.log.codec import header, is_json, out
from headrace.log.envelope import MAX_TEXT_BYTES, Envelope, Origin, derived_id
from headrace.log.limits import refuse_unreadable
from headrace.log.port import MAX_VALUE_BYTES, Out, Record
from headrace.log.topics import Topics
from headrace.project.compile_streams import event_struct
from headrace.project.labels import Label, why_not_label
from headrace.project.pipelines import Outcome, Pipeline
from headrace.project.raised import one_line
from headrace.project.sources import Source


def read_raw(record: Record) -> Any:
    """The message of a raw record: its JSON, or MessagePack. Raises `Poison`."""
    value = record.value
    if record.unread is not None:
        raise Poison(record.unread)
    if value is None:
        raise Poison("value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise Poison(f"value has {len(value)} bytes, the limit is {MAX_VALUE_BYTES}")
    content_type = header(record.headers, "content-type") or ""
    decode = msgspec.json.decode if is_json(value, content_type) else msgspec.msgpack.decode
    try:
        found = decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Poison(f"not {'JSON' if decode is msgspec.json.decode else 'MessagePack'}: {error}") from None
    if not isinstance(found, dict):
        raise Poison(f"a message is an object, got {type(found).__name__}")
    return found


def targets_of(pipeline: Pipeline) -> dict[type, str]:
    """The source for each event type that a pipeline may yield. Raises `Misconfigured` when two sources share a type."""
    sources = [target for target in pipeline.to if isinstance(target, Source)]
    targets: dict[type, str] = {source.event: source.name for source in sources}
    if len(targets) != len(sources):
        raise Misconfigured(f"pipeline {pipeline.name}: two of its sources have the same event type; give each its own")
    return targets


class Contract:
    """Turns what a transform yields into records of its sources and outcomes. `targets`: see `targets_of`; `pipeline`: its name."""

    def __init__(
        self, topics: Topics, project: ProjectDefinition, pipeline: PipelineDefinition, targets: dict[type, str]
    ) -> None:
        self.pipeline = pipeline.name
        self._topics, self._outcomes, self._targets = topics, pipeline.outcomes, targets
        self._sources = {name: project.source(name) for name in pipeline.sources}
        self._labels = {found.name: found.label for found in project.deployments}
        self._encoder = msgspec.msgpack.Encoder()
        self._checks = {name: msgspec.msgpack.Decoder(event_struct(source)) for name, source in self._sources.items()}

    def measure(self, yielded: Any) -> int:
        """The bytes that a yielded value takes on the topic, 0 for what cannot be written (`write` raises the reason)."""
        try:
            return len(self._encoder.encode(yielded))
        except Exception:  # NB: a value of the user's; encoding one may raise whatever its class raises
            return 0

    def write(self, yielded: Any, origin: Origin, cause_id: str, append_ms: int) -> list[Out]:
        """The records of one yielded value, written at `append_ms` (milliseconds since the epoch).

        Raises `Poison` naming the pipeline, and the field that is to blame, when it may not pass.
        """
        try:
            return self._write(yielded, origin, cause_id, append_ms)
        except Poison as poison:
            raise Poison(f"pipeline {self.pipeline} {poison.reason}", poison.field) from None
        except Exception as error:  # NB: a value of the user's; reading one may raise whatever its class raises
            raise Poison(
                f"pipeline {self.pipeline} yielded {type(yielded).__name__}, which cannot be written: {one_line(error)}"
            ) from None

    def _write(self, yielded: Any, origin: Origin, cause_id: str, append_ms: int) -> list[Out]:
        if isinstance(yielded, Outcome) and self._outcomes:
            return [self._outcome(yielded, deployment, origin, cause_id, append_ms) for deployment in self._outcomes]
        name = self._targets.get(type(yielded))
        if name is None:
            known = ", ".join([kind.__name__ for kind in self._targets] + ["Outcome"] * bool(self._outcomes))
            raise Poison(f"yielded {type(yielded).__name__}; its outputs are {known}")
        return [self._event(yielded, self._sources[name], origin, cause_id, append_ms)]

    def _event(
        self, event: msgspec.Struct, source: SourceDefinition, origin: Origin, cause_id: str, append_ms: int
    ) -> Out:
        key = str(getattr(event, source.key))
        self._check(event, key, source.name)
        refused = refusal(source, event, append_ms)
        if refused is not None:
            raise Poison(f"broke the contract of {source.name}: {refused}", refused.field)
        time_s = instant_s(getattr(event, source.available_at or source.event_time))
        envelope = Envelope(derived_id(source.name, origin), "", self.pipeline, time_s, cause_id, cause_id, origin)
        return out(self._topics.of_source(source.name), key, event, envelope)

    def _check(self, event: msgspec.Struct, key: str, source: str) -> None:
        """Structs are not validated when they are made: the compiled contract reads what would be written.

        NB: what passes here and is refused by the readers counts against the partition of the source, and stops it.
        """
        written = self._encoder.encode(event)
        if len(written) > MAX_VALUE_BYTES:
            raise Poison(
                f"broke the contract of {source}: an event has {len(written):,} bytes, the limit is {MAX_VALUE_BYTES:,}"
            )
        try:
            self._checks[source].decode(written)
            refuse_unreadable(key.encode(), written, event)
        except Poison as poison:
            raise Poison(f"broke the contract of {source}: {poison.reason}", poison.field) from None
        except msgspec.ValidationError as error:
            raise Poison(f"broke the contract of {source}: {error}", _field_of(error)) from None

    def _outcome(self, outcome: Outcome, deployment: str, origin: Origin, cause_id: str, append_ms: int) -> Out:
        if deployment in self._labels and self._labels[deployment] is None:
            raise Poison(
                f"yielded an Outcome: the deployment {deployment!r} declares no label, so it takes no outcomes"
            )
        unit, label, at_s = _unit(outcome.unit), _label(outcome.label, self._labels.get(deployment)), _at_s(outcome.at)
        why = why_not(at_s, append_ms, "at")
        if why is not None:
            raise Poison(f"yielded an Outcome: {why}", "at")
        named = {name: _id(getattr(outcome, name), name) for name in ("request_id", "corrects", "id")}
        ident = named["id"] or derived_id("outcome", deployment, origin)
        if named["corrects"] == ident:
            raise Poison(f"yielded an Outcome that corrects itself, {ident}", "corrects")
        event = OutcomeObserved(deployment, unit, label, named["request_id"], named["corrects"])
        envelope = Envelope(ident, "", self.pipeline, at_s, cause_id, cause_id, origin)
        return out(self._topics.name("inference.outcomes"), unit, event, envelope)


def _unit(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Poison(f"yielded an Outcome whose unit must be a text, got {_described(value)}: write str(...)", "unit")
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise Poison(f"yielded an Outcome whose unit has more than {MAX_TEXT_BYTES} bytes", "unit")
    return value


def _id(value: Any, name: str) -> str | None:
    """NB: an id of no bytes would be that of every outcome that has none."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= MAX_TEXT_BYTES:
        raise Poison(
            f"yielded an Outcome whose {name} must be a printable text of at most {MAX_TEXT_BYTES} bytes, got {_described(value)}",
            name,
        )
    return value


def _label(value: Any, wanted: LabelDefinition | None) -> Label:
    """The label as written: of the deployment's kind, where it declares one. NB: numpy's numbers are numbers."""
    if isinstance(value, numbers.Real) and _is_finite(value):
        label: Label = bool(value) if isinstance(value, bool) else float(value)
    elif isinstance(value, str) and wanted is not None:
        label = str(value)
    else:
        raise Poison(f"yielded an Outcome whose label must be a finite number, got {_described(value)}", "label")
    why = None if wanted is None else why_not_label(wanted, label)
    if why is not None:
        raise Poison(f"yielded an Outcome: {why}", "label")
    return label


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float64 can hold
        return False


def _at_s(value: Any) -> float:
    if isinstance(value, datetime) or (isinstance(value, numbers.Real) and not isinstance(value, bool)):
        try:
            return instant_s(value)
        except OverflowError:
            pass
    raise Poison(
        f"yielded an Outcome whose at must be a datetime or seconds since the epoch, got {_described(value)}:"
        " datetime.fromisoformat(...) reads a text",
        "at",
    )


def _field_of(error: msgspec.ValidationError) -> str | None:
    found = re.search(r" - at `\$\.?([^`]*)`|required field `([^`]+)`", str(error))
    return None if found is None else found[1] or found[2]


def _described(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 100 else f"{text[:100]}..."
