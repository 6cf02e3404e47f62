"""The stages of a batch: what is known of it at each point. Each is made once, out of the one before, and is never changed.

| stage      | made by                 | holds                                                                         |
|------------|-------------------------|-------------------------------------------------------------------------------|
| `Admitted` | `admission.admit_all`   | which requests get an answer by a model, which are turned away, which are repeats |
| `Gathered` | `gathering.gathered`    | the features of the admitted ones, and which versions can be asked at all      |
| `Scored`   | `decide.with_results`   | what versions have answered so far, a new one after each round of calls        |
| `Decided`  | `decide.decide`         | the decisions, and what is left for shadows to score                           |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from headrace.asking.fallback import Ask, Chosen, Step
from headrace.asking.routing import Assigned
from headrace.events.definition import BreakerDefinition, DeploymentDefinition, ProjectDefinition
from headrace.events.failures import Failure, InvalidScore
from headrace.events.inference import Answer, DecisionMade, Score
from headrace.events.registry import Route, VersionRegistered
from headrace_inference.core.request import Request
from headrace_inference.core.rows import Rows

Name = tuple[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class DeploymentState:
    """What all requests of a batch to one deployment share. `applied`: how far the sources of its features are contained in them.

    `route_offset`: the route's record, -1 for none; `level`: how much load must be shed; `shadows`: versions that score along,
    those that no request is answered by for now included, since how they do is known only so.
    """

    project: ProjectDefinition
    definition: DeploymentDefinition
    route: Route | None
    route_offset: int
    rows: Rows
    applied: dict[str, int]
    level: int
    shadows: tuple[int, ...]


def shadows_of(route: Route | None) -> tuple[int, ...]:
    """The versions that score along by a route."""
    if route is None:
        return ()
    passed_over = (found.version for found in route.passed_over)
    return (*route.shadows, *(version for version in passed_over if version not in route.shadows))


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The version of a deployment that was to answer, and the fallback chain from it on. All cases of a batch with the same one share
    the object, so that what is decided of it is decided once.
    """

    deployment: str
    state: DeploymentState
    assigned: Assigned
    steps: tuple[Step, ...]

    @property
    def versions(self) -> list[int]:
        """The versions that may answer, the highest step first."""
        return [step.version for step in self.steps if isinstance(step, Ask)]


class Case(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One request that is let in. `index`: its place in the batch; `place`: among the cases of its deployment; `headers`: the request's
    own, by name.
    """

    index: int
    place: int
    request: Request
    headers: dict[str, bytes]
    unit: str
    chain: Chain


class TurnedAway(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One request that no model is asked for."""

    request: Request
    headers: dict[str, bytes]
    unit: str
    answer: Answer


class Repeat(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One request that was answered before, or is in this batch already."""

    request: Request
    headers: dict[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """Each request of a batch is in one of `cases`, `turned_away` and `repeats`, in the order of the batch.

    `by_deployment`: the cases of each deployment, by their places; `chains`: the different ones of the cases; `due_ms`: the tightest
    deadline of all cases, in ms since the epoch, infinite when there is none.
    """

    cases: Sequence[Case]
    turned_away: Sequence[TurnedAway]
    repeats: Sequence[Repeat]
    by_deployment: Mapping[str, Sequence[Case]]
    chains: Sequence[Chain]
    due_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The view features of the cases of one deployment, by their places: `values`, float64 (n, features), and per case and view the
    entity that was looked up. `newest_s`: per source the newest instant that is contained.
    """

    values: np.ndarray
    entities: Sequence[dict[str, str]]
    newest_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Failures:
    """Why versions cannot answer. `versions`: those that can answer no case; `rows`: per case (its index) those that cannot answer it
    alone; `shadows`: deployments none of whose shadows scores along.
    """

    versions: Mapping[Name, Failure] = field(default_factory=dict)
    rows: Mapping[int, Mapping[Name, Failure]] = field(default_factory=dict)
    shadows: Mapping[str, Failure] = field(default_factory=dict)

    def of(self, name: Name, index: int) -> Failure | None:
        """Why a version cannot answer one case, None when it can."""
        found = self.versions.get(name)
        if found is None and index in self.rows:
            found = self.rows[index].get(name)
        return found

    def joined(self, versions: Mapping[Name, Failure], rows: Mapping[int, Mapping[Name, Failure]]) -> "Failures":
        """These and more of them; of two about the same row the newer one counts."""
        both = {**self.rows, **{index: {**self.rows.get(index, {}), **found} for index, found in rows.items()}}
        return Failures({**self.versions, **versions}, both, self.shadows)


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """All that a batch is decided by. `versions`: those that may be asked; `missing`: per deployment, by the cases' places, the
    features without a value.
    """

    admitted: Admitted
    features: Mapping[str, Features]
    missing: Mapping[str, Sequence[tuple[str, ...]]]
    versions: Mapping[Name, VersionRegistered]
    failures: Failures


@dataclass(frozen=True, slots=True, eq=False)
class ModelCall:
    """One call of a version. `rows`: float32 (n, columns), and the unit of each; `cases`: what they were made of, empty for a shadow.

    `is_short`: only a tight deadline made the limit so short that it is no fair one; `as_shadow`: the version only scores along.
    """

    name: Name
    rows: np.ndarray
    units: Sequence[str]
    limit_s: float
    breaker: BreakerDefinition
    cases: Sequence[Case] = ()
    is_short: bool = False
    as_shadow: bool = False


@dataclass(frozen=True, slots=True)
class RowScores:
    """What a call gave: a score per row, in order (none when every row has a fault). `faults`: rows whose score must not be served, and
    why; `unasked`: rows that were not reached in time.
    """

    scores: Sequence[Score]
    faults: dict[int, Failure]
    unasked: tuple[int, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether rows were asked anew in parts, to find those that fail: the duration of it all is not that of one call then."""
        return any(not isinstance(failure, InvalidScore) for failure in self.faults.values())


@dataclass(frozen=True, slots=True, eq=False)
class CallResult:
    """What came of a call: scores, or why it gave nothing at all.

    `took_s`: how long it was waited for. `cpu_s`: the time of a core that the version used, by which versions are compared: on a busy
    machine the other one is as much in the way of whoever is asked first. 0 where it did not return.
    """

    call: ModelCall
    given: RowScores | Failure
    took_s: float
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What versions have answered so far. By version, then by the index of the case: `scores`, and `took_ms` as it is written into
    the decision (left out where the call was split). `rows`: by the digest of a signature, then by index, the bytes of the rows that were made.

    `chosen`: per case, in order, the step that answers it as things are; `is_settled`: whether each of these has its score.
    """

    scores: Mapping[Name, Mapping[int, Score]]
    took_ms: Mapping[Name, Mapping[int, dict[str, float]]]
    rows: Mapping[str, Mapping[int, bytes]]
    failures: Failures
    chosen: Sequence[Chosen]
    is_settled: bool


class Decision(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A decision to be written. `at_s`: the instant that replaces the request's own, None to keep that; `is_fast`: whether the
    reply leaves before the commit; `is_shadowed`: whether a shadow is to score it.
    """

    request: Request
    headers: dict[str, bytes]
    made: DecisionMade
    at_s: float | None = None
    is_fast: bool = False
    is_shadowed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ShadowCall:
    """What a version is to score in its own time: per case its place in `Decided.decisions`, and the row's bytes, or the score where it is known."""

    name: Name
    cases: Sequence[tuple[int, bytes | Score]]


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What becomes of a batch. `decisions`: those of `cases` first, in their order; `chosen`: the step that answers each case."""

    decisions: Sequence[Decision]
    repeats: Sequence[Repeat]
    shadow_calls: Sequence[ShadowCall]
    cases: Sequence[Case]
    chosen: Sequence[Chosen]
