"""What a build has read, kept for the next one: events per source as Parquet, requests and outcomes as MessagePack.

A folder of segments, one per build that read something new, and `state.json`: how far each partition was read and which
repeats are known. Only a finished build moves `state.json`; a cache of other definitions is thrown away.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from headrace.bus.port import Record, TopicPartition
from headrace.codec import Codec
from headrace.errors import Poison
from headrace.events.features import IdentitiesSeen
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.features.dataset import Gathered, is_foreign
from headrace.features.events import EventTable
from headrace.features.origins import Origins
from headrace.features.repeats import Repeats
from headrace.project.definition import SourceDefinition, digest_of
from headrace.project.labels import value_of, why_not_label

_VERSION = 3


class Kept(msgspec.Struct):
    """A request or an outcome as it is kept: `at_s` is its instant, or when the outcome became known."""

    id: str
    at_s: float
    unit: str
    request: PredictionRequested | None = None
    label: float = 0.0
    request_id: str | None = None
    corrects: str | None = None


@dataclass
class Cache:
    """The cache of one deployment's datasets in `folder`. `topic_ids`: of the topics that are read; of others nothing is kept."""

    folder: Path
    gathered: Gathered
    topic_ids: Mapping[str, str]
    state: dict[str, Any] = field(default_factory=dict)
    _fresh: list[Kept] = field(default_factory=list)
    _held: dict[str, int] = field(default_factory=dict)

    def load(self) -> dict[TopicPartition, int]:
        """Give back to `gathered` what was read before; returns where to go on reading, by partition."""
        path = self.folder / "state.json"
        self.state = json.loads(path.read_text()) if path.exists() else {}
        if self.state.get("made_for") != self._made_for():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.state = {"made_for": self._made_for(), "segments": 0, "offsets": {}}
            return {}
        for number in range(self.state["segments"]):
            self._load_segment(number)
        for topic, table in self.gathered.tables.items():
            table.restore(*_marks(table.source, self.state["marks"][topic]))
            self._held[topic] = len(table)
        return {_place(place): offset for place, offset in self.state["offsets"].items()}

    def take(self, codec: Codec, record: Record) -> None:
        """A record that is new."""
        if record.topic in self.gathered.tables:
            self.gathered.read(codec, record)
            return
        if is_foreign(record, self.gathered.deployment.name):
            return
        try:
            message = codec.decode(record)
        except Poison:  # dead-lettered by its owner
            return
        event, unit = message.event, (record.key or b"").decode("utf-8", "replace")
        name = self.gathered.deployment.name
        if isinstance(event, PredictionRequested) and event.deployment == name:
            self._fresh.append(Kept(message.envelope.id, message.envelope.time_s, event.unit or unit, event))
        elif isinstance(event, OutcomeObserved) and event.deployment == name:
            label = self.gathered.deployment.label
            if label is not None and why_not_label(label, event.label) is None:
                value = value_of(label, event.label)
                told = (event.request_id, event.corrects)
                self._fresh.append(Kept(message.envelope.id, message.envelope.time_s, event.unit, None, value, *told))

    def save(self, ends: dict[TopicPartition, int]) -> None:
        """Keep what is new, and only then say how far it goes."""
        self._give(self._fresh)
        number = self.state["segments"]
        segment = self.folder / f"{number:05}"
        segment.mkdir(parents=True, exist_ok=True)
        (segment / "records.msgpack").write_bytes(msgspec.msgpack.encode(self._fresh))
        for topic, table in self.gathered.tables.items():
            fresh = {name: values[self._held.get(topic, 0) :] for name, values in table.columns().items()}
            pl.DataFrame({name: _storable(values) for name, values in fresh.items()}).write_parquet(
                segment / f"{topic}.parquet"
            )
        self.state |= {
            "segments": number + 1,
            "offsets": {f"{tp.topic}/{tp.partition}": end for tp, end in ends.items()},
            "marks": {topic: _written(table) for topic, table in self.gathered.tables.items()},
        }
        partial = self.folder / "state.json.new"
        partial.write_text(json.dumps(self.state))
        partial.replace(self.folder / "state.json")

    def _load_segment(self, number: int) -> None:
        segment = self.folder / f"{number:05}"
        self._give(msgspec.msgpack.decode((segment / "records.msgpack").read_bytes(), type=list[Kept]))
        for topic, table in self.gathered.tables.items():
            frame = pl.read_parquet(segment / f"{topic}.parquet")
            table.extend({name: _column(frame[name]) for name in frame.columns})

    def _give(self, kept: list[Kept]) -> None:
        for found in kept:
            if found.request is not None:
                self.gathered.request(found.id, found.at_s, found.unit, found.request)
            else:
                self.gathered.label(found.unit, found.at_s, found.label, found.id, found.request_id, found.corrects)

    def _made_for(self) -> str:
        sources = [table.source for table in self.gathered.tables.values()]
        ids = sorted(self.topic_ids.items())
        return digest_of(_VERSION, self.gathered.deployment.name, sources, self.gathered.topics.namespace, ids)


def _storable(values: np.ndarray) -> pl.Series:
    return pl.Series(values.tolist() if values.dtype == np.object_ else values)


def _column(series: pl.Series) -> np.ndarray:
    if series.dtype in (pl.Float64, pl.Int64) and not series.null_count():
        return series.to_numpy()
    column = np.empty(len(series), dtype=np.object_)
    column[:] = series.to_list()
    return column


def _written(table: EventTable) -> dict[str, Any]:
    marks = {
        str(partition): {
            "marked": origins.marked,
            "sparse": {p: sorted(codes) for p, codes in origins.sparse.items()},
            "topic_ids": origins.topic_ids,
        }
        for partition, origins in table.origins.items()
    }
    seen = [
        msgspec.to_builtins(found)
        for partition, repeats in table.repeats.items()
        for found in repeats.take_all(partition)
    ]
    return {"origins": marks, "seen": seen}


def _marks(source: SourceDefinition, written: dict[str, Any]) -> tuple[dict[int, Origins], dict[int, Repeats]]:
    origins = {
        int(partition): Origins(
            found["marked"], {place: set(codes) for place, codes in found["sparse"].items()}, found["topic_ids"]
        )
        for partition, found in written["origins"].items()
    }
    repeats: dict[int, Repeats] = {}
    for found in written["seen"]:
        seen = msgspec.convert(found, IdentitiesSeen)
        repeats.setdefault(seen.partition, Repeats(source)).restore(seen)
    return origins, repeats


def _place(place: str) -> TopicPartition:
    topic, _, partition = place.rpartition("/")
    return TopicPartition(topic, int(partition))
