"""How a fetched batch becomes model calls: one call per version and round, however many requests it holds.

A round asks, for every request still open, the highest step of its ladder that has not failed; a call that fails closes
that step for all its requests, and the next round asks the steps below. Shadows score after the answers have left.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.failures import Failure
from headrace.events.inference import Score
from headrace.events.registry import Route
from headrace_inference.core.ladder import Ask, Chosen, Step, choose_step, passed_over
from headrace_inference.core.routing import Assigned

Name = tuple[str, int]


class Case(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One admitted request. `index`: its place in the batch; `route_offset`: the route's record, -1 for none.

    `assigned`: the version that was to answer. `steps`: one object for all cases of a batch with the same ladder.
    """

    index: int
    unit: str
    at_s: float
    project: ProjectDefinition
    deployment: DeploymentDefinition
    route: Route | None
    route_offset: int
    steps: tuple[Step, ...]
    assigned: Assigned

    @property
    def shadows(self) -> tuple[int, ...]:
        """Versions that score along, those that steps pass over included: how they do is known only so."""
        if self.route is None:
            return ()
        down = (found.version for found in self.route.passed_over)
        return (*self.route.shadows, *(version for version in down if version not in self.route.shadows))

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions that may be asked about it: those of the ladder, then the shadows."""
        return (*(step.version for step in self.steps if isinstance(step, Ask)), *self.shadows)


class Call(msgspec.Struct, frozen=True):
    """One model call: a version, and the cases whose rows it gets."""

    name: Name
    cases: tuple[Case, ...]


Scores = Mapping[Name, Mapping[int, Score]]


class Failures(dict[Name, Failure]):
    """Versions that cannot answer any case, and why. `shadows`: deployments none of whose shadows scores along, and why.

    `rows`: per case (its index) the versions that cannot answer it alone, and why.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[Name, Failure]] = {}
        self.shadows: dict[str, Failure] = {}

    def note_row(self, name: Name, index: int, failure: Failure) -> None:
        """A version cannot answer one case."""
        self.rows.setdefault(index, {})[name] = failure

    def of(self, name: Name, index: int) -> Failure | None:
        """Why a version cannot answer one case, None when it can."""
        return self.get(name) or (self.rows.get(index, _NONE).get(name) if self.rows else None)


_NONE: Mapping[Name, Failure] = {}


def failed_for(case: Case, failures: Failures) -> dict[int, Failure]:
    """Versions of a case's deployment that cannot answer, and why."""
    named = {step.version for step in case.steps if isinstance(step, Ask)}
    told = {version: failures.of((case.deployment.name, version), case.index) for version in named}
    return {version: failure for version, failure in told.items() if failure is not None}


def chosen_for(case: Case, failures: Failures) -> Chosen:
    """The step that answers a case as things stand."""
    return choose_step(case.steps, failed_for(case, failures))


def choices(cases: Sequence[Case], failures: Failures) -> list[Chosen]:
    """`chosen_for` of many: cases with the same ladder share the answer, but for those with failures of their own."""
    shared: dict[int, Chosen] = {}
    found: list[Chosen] = []
    for case in cases:
        if case.index in failures.rows:
            found.append(chosen_for(case, failures))
            continue
        key = id(case.steps)
        chosen = shared.get(key)
        if chosen is None:
            chosen = shared[key] = chosen_for(case, failures)
        found.append(chosen)
    return found


def told_failures(case: Case, chosen: Chosen, failures: Failures) -> dict[str, Failure]:
    """The versions that should have scored a case and did not, and why; shadows included, as far as they were not even asked.

    By their digits, as they are written.
    """
    if not failures and case.index not in failures.rows and not failures.shadows:
        return {}
    name = case.deployment.name
    told = passed_over(case.steps, chosen, failed_for(case, failures))
    spared = failures.shadows.get(name)
    shadows = {version: failures.of((name, version), case.index) or spared for version in case.shadows}
    told |= {version: failure for version, failure in shadows.items() if failure is not None}
    return {str(version): failure for version, failure in told.items()}


def next_calls(cases: Sequence[Case], scores: Scores, failures: Failures) -> list[Call]:
    """The calls of the next round: asked steps that have no score yet; empty when every case can be answered."""
    return _calls(
        (case, step.version)
        for case, chosen in zip(cases, choices(cases, failures), strict=True)
        if isinstance(step := chosen.step, Ask)
        and case.index not in scores.get((case.deployment.name, step.version), ())
    )


def shadow_calls(cases: Sequence[Case], chosen: Sequence[Chosen], failures: Failures) -> list[Call]:
    """What is left to ask once every case is answered: per version the cases that it shadows, where it is fit to be asked."""
    asked: list[tuple[Case, int]] = []
    for case, found in zip(cases, chosen, strict=True):
        if case.shadows and case.deployment.name not in failures.shadows:
            answering = found.step.version if isinstance(found.step, Ask) else None
            asked += [(case, version) for version in case.shadows if _may_shadow(case, version, answering, failures)]
    return _calls(asked)


def _may_shadow(case: Case, version: int, answering: int | None, failures: Failures) -> bool:
    return version != answering and failures.of((case.deployment.name, version), case.index) is None


def _calls(asked: Iterable[tuple[Case, int]]) -> list[Call]:
    gathered: dict[Name, list[Case]] = {}
    for case, version in asked:
        gathered.setdefault((case.deployment.name, version), []).append(case)
    return [Call(name, tuple(cases)) for name, cases in gathered.items()]
