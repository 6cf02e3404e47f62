"""What the log holds to simulate rollouts on: which score each request was served, what its label was, and when.

A request counts with the score that was served, by whichever version; answers of the fallback chain and previews do not
count. Scores of shadows are kept beside it, by version, those that came after the decision too. Only the newest
decisions are read, in columns of fixed width, so that memory does not grow with the log.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served, ShadowScored
from headrace.features.outcomes import SKEW_S, Asked, key_of, labels_of, packed, table_of
from headrace.features.own import is_foreign
from headrace.instants import MAX_AHEAD_S
from headrace.log.codec import Codec
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.topics import Topics
from headrace.project.labels import NUMBER, value_of, why_not_label
from headrace.stats.losses import CLASSES

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]

# How many of the newest records of decisions `simulate` reads, and `apply` and `rollout start`. Of outcomes twice as many.
MOST_DECISIONS, FEW_DECISIONS = 500_000, 50_000
OUTCOMES_PER_DECISION = 2

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Recorded:
    """Requests of a deployment in order of their instants.

    `at_s`: shape (n,). `scores`: as served, (n,) or (n, classes); numbers as they are. `labels`: (n,), NaN where
    unknown. `lag_s`: how long after the request its label became known, NaN without. `clock_s`: the newest instant of
    both topics. `others`: per shadow version its scores, NaN where it gave none. `versions`: who served, oldest
    first. `cut`: how many records on the topic of decisions are older than what was read.
    """

    label: LabelDefinition
    at_s: Floats
    scores: Scores
    labels: Floats
    lag_s: Floats
    clock_s: float = 0.0
    others: Mapping[int, Scores] = field(default_factory=dict)
    versions: tuple[int, ...] = ()
    cut: int = 0

    def __len__(self) -> int:
        return len(self.at_s)

    @property
    def classes(self) -> int:
        """How many classes the label has."""
        return self.scores.shape[1] if self.scores.ndim == 2 else 2

    @property
    def days(self) -> float:
        """From the first to the last request, in days."""
        return float(self.at_s[-1] - self.at_s[0]) / 86_400.0 if len(self) else 0.0

    @property
    def missing_share(self) -> float:
        """The share of labels that did not come by their horizon; 0 while no horizon has passed."""
        over = self.labels[self.at_s + self.label.horizon_s <= self.clock_s]
        return float(np.isnan(over).mean()) if len(over) else 0.0

    @property
    def labelled(self) -> int:
        """How many requests have a label."""
        return int((~np.isnan(self.labels)).sum())


async def recorded(
    log: Log,
    codec: Codec,
    topics: Topics,
    deployment: DeploymentDefinition,
    most: int = MOST_DECISIONS,
    progress: Progress = lambda share: None,
) -> Recorded:
    """Read the newest decisions of a deployment with a label, and their outcomes. `progress`: the share that was read."""
    label = deployment.label
    if label is None:
        raise ValueError(f"{deployment.name} has no label")
    reading = Reading(codec, deployment.name, label)
    ends = await pin_offsets(log, [topics.name("inference.decisions")])
    starts, cut = await _newest(log, ends, most)
    await read_up_to(log, ends, reading.take, lambda done, total: progress(done / max(total, 1) / 2), starts)
    if reading.first_s is None:
        return reading.result(cut)
    ends = await pin_offsets(log, [topics.name("inference.outcomes")])
    starts, _ = await _newest(log, ends, most * OUTCOMES_PER_DECISION)
    # NB: a record may be dated at most `MAX_AHEAD_S` after its append time, so what was appended earlier cannot matter.
    since_ms = max(0, int((reading.first_s - SKEW_S - MAX_AHEAD_S) * 1000))
    by_time = await log.offsets_at(list(ends), since_ms)
    reading.is_short = any(by_time.get(tp, 0) < start for tp, start in starts.items())
    starts = {tp: max(start, by_time.get(tp, 0)) for tp, start in starts.items()}
    await read_up_to(log, ends, reading.take, lambda done, total: progress(0.5 + done / max(total, 1) / 2), starts)
    return reading.result(cut)


async def _newest(log: Log, ends: Mapping[TopicPartition, int], most: int) -> tuple[dict[TopicPartition, int], int]:
    """The offsets from which the newest `most` records lie, and how many are older."""
    begins, each = await log.begin_offsets(ends), max(most // max(len(ends), 1), 1)
    starts = {tp: max(begins[tp], end - each) for tp, end in ends.items()}
    return starts, sum(start - begins[tp] for tp, start in starts.items())


@dataclass
class Reading:
    """Decisions and outcomes of one deployment as they are read, in columns. `is_short`: outcomes are cut off too."""

    codec: Codec
    deployment: str
    label: LabelDefinition
    first_s: float | None = None
    is_short: bool = False
    _units: "array[int]" = field(default_factory=lambda: array("Q"))
    _ids: "array[int]" = field(default_factory=lambda: array("Q"))
    _at_s: "array[float]" = field(default_factory=lambda: array("d"))
    _scores: "array[float]" = field(default_factory=lambda: array("f"))
    _versions: "array[int]" = field(default_factory=lambda: array("q"))
    _others: "dict[int, tuple[array[int], array[float]]]" = field(default_factory=dict)
    _due: dict[tuple[int, int], int] = field(default_factory=dict)
    _outcomes: bytearray = field(default_factory=bytearray)
    _width: int = 0

    def take(self, record: Record) -> None:
        """Take a record of decisions or outcomes; those of other deployments and unreadable ones are skipped."""
        if is_foreign(record, self.deployment):
            return
        try:
            message = self.codec.decode(record)
        except Poison:
            return
        event = message.event
        if getattr(event, "deployment", None) != self.deployment:
            return
        match event:
            case DecisionMade():
                self._decision(event)
            case ShadowScored():
                self._late(event)
            case OutcomeObserved():
                if why_not_label(self.label, event.label) is None:
                    value = value_of(self.label, event.label)
                    ident = message.envelope.id
                    known_s = message.envelope.time_s
                    self._outcomes += packed(event.unit, value, known_s, ident, event.request_id, event.corrects)

    def _decision(self, event: DecisionMade) -> None:
        if not isinstance(event.answer, Served) or event.override == "preview":
            return
        values = self._values(event.answer.score)
        if values is None:
            return
        place = len(self._at_s)
        self._units.append(key_of(event.unit))
        self._ids.append(key_of(event.request_id))
        self._at_s.append(event.at_s)
        self._scores.extend(values)
        self._versions.append(event.answer.score.version)
        self.first_s = event.at_s if self.first_s is None else min(self.first_s, event.at_s)
        for score in event.shadows:
            self._shadow(place, score)
        for version in event.shadows_due:
            self._due[self._ids[place], version] = place

    def _late(self, event: ShadowScored) -> None:
        place = self._due.pop((key_of(event.request_id), event.version), None)
        if place is not None and event.score is not None:
            self._shadow(place, event.score)

    def _shadow(self, place: int, score: Score) -> None:
        values = self._values(score)
        if values is not None:
            places, scores = self._others.setdefault(score.version, (array("q"), array("f")))
            places.append(place)
            scores.extend(values)

    def _values(self, score: Score) -> tuple[float, ...] | None:
        """The numbers of a score; None where it is of another kind than the label, or of other classes."""
        if self.label.kind != CLASSES:
            return None if score.value is None else (score.value,)
        found = score.probabilities
        if found is None or (self._width and len(found) != self._width):
            return None
        self._width = len(found)
        return found

    def result(self, cut: int) -> Recorded:
        """What was read, each request once, in order of instants."""
        ids, units = np.array(self._ids, dtype=np.uint64), np.array(self._units, dtype=np.uint64)
        at_s = np.array(self._at_s, dtype=np.float64)
        outcomes = table_of(self._outcomes)
        clock_s = float(max(at_s.max(initial=-np.inf), outcomes["known_s"].max(initial=-np.inf)))
        joined = labels_of(self.label, Asked(units, at_s, ids), outcomes, clock_s)
        kept = np.zeros(len(ids), dtype=bool)
        kept[np.unique(np.column_stack([units, ids]), axis=0, return_index=True)[1]] = True
        if self.is_short and len(outcomes):
            kept &= at_s >= outcomes["known_s"].min()
        order = np.flatnonzero(kept)[np.argsort(at_s[kept], kind="stable")]
        lag_s = np.where(np.isfinite(joined.first_s), joined.first_s - at_s, np.nan)
        return Recorded(
            self.label,
            at_s[order],
            self._matrix(self._scores)[order],
            joined.labels[order],
            lag_s[order],
            clock_s,
            {version: self._spread(*found)[order] for version, found in sorted(self._others.items())},
            tuple(dict.fromkeys(np.array(self._versions)[order].tolist())) if len(order) else (),
            cut,
        )

    def _matrix(self, values: Iterable[float]) -> Scores:
        found = np.array(values, dtype=np.float32)
        return found.reshape(-1, self._width) if self.label.kind == CLASSES and self._width else found

    def _spread(self, places: Iterable[int], values: Iterable[float]) -> Scores:
        """The scores of a shadow at the places of their requests, NaN elsewhere."""
        own = self._matrix(values)
        found = np.full((len(self._at_s), *own.shape[1:]), np.nan, dtype=np.float32)
        found[np.array(places, dtype=np.int64)] = own
        return found


def scaled(found: Recorded, values: Scores | Floats) -> Floats:
    """Scores or labels as the tests take them: numbers as parts of the label's range, all else as it is.

    Without a declared range numbers are parts of the range that was seen, which keeps their order and nothing else.
    """
    taken = np.asarray(values, dtype=np.float64)
    if found.label.kind != NUMBER:
        return taken
    low, high = range_of(found)
    return (taken - low) / (high - low)


def range_of(found: Recorded) -> tuple[float, float]:
    """The range of a number: the declared one, else what was seen of scores and labels."""
    label = found.label
    if label.low is not None and label.high is not None:
        return label.low, label.high
    seen = np.concatenate([found.scores, found.labels[~np.isnan(found.labels)]])
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def has_range(label: LabelDefinition) -> bool:
    """Whether scores of this label are bounded, so that their level can be tested."""
    return label.kind != NUMBER or (label.low is not None and label.high is not None)
