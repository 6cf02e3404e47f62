"""How a fetched batch becomes model calls: one call per version and round, however many requests it holds.

A round asks, for every request still open, the highest step of its ladder that has not failed; a call that fails closes
that step for all its requests, and the next round asks the steps below. Shadows ride along in the first round.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.events.inference import Score
from headrace.events.registry import Route
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace_inference.core.ladder import Ask, Chosen, Step, choose_step, passed_over
from headrace_inference.core.routing import Assigned

Name = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One admitted request. `index`: its place in the batch; `route_offset`: the route's record, -1 for none.

    `assigned`: the version that was to answer."""

    index: int
    request_id: str
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
        """Versions that score along."""
        return self.route.shadows if self.route is not None else ()

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions that may be asked about it: those of the ladder, then the shadows."""
        return (*(step.version for step in self.steps if isinstance(step, Ask)), *self.shadows)


@dataclass(frozen=True, slots=True)
class Call:
    """One model call: a version, and the cases whose rows it gets."""

    name: Name
    cases: tuple[Case, ...]


Scores = Mapping[Name, Mapping[int, Score]]


class Failures(dict[Name, str]):
    """Versions that cannot answer any case, and why. `rows`: the same for single cases, by version and index.

    `shadows`: deployments none of whose shadows scores along, and why.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[Name, int], str] = {}
        self.shadows: dict[str, str] = {}

    def of(self, name: Name, index: int) -> str | None:
        """Why a version cannot answer one case, None when it can."""
        return self.get(name) or (self.rows.get((name, index)) if self.rows else None)


def failed_for(case: Case, failures: Failures) -> dict[int, str]:
    """Versions of a case's deployment that cannot answer, and why."""
    named = {step.version for step in case.steps if isinstance(step, Ask)}
    told = {version: failures.of((case.deployment.name, version), case.index) for version in named}
    return {version: reason for version, reason in told.items() if reason is not None}


def chosen_for(case: Case, failures: Failures) -> Chosen:
    """The step that answers a case as things stand."""
    return choose_step(case.steps, failed_for(case, failures))


def told_failures(case: Case, chosen: Chosen, failures: Failures) -> dict[int, str]:
    """The versions that should have scored a case and did not, shadows included, and why."""
    name = case.deployment.name
    told = passed_over(case.steps, chosen, failed_for(case, failures))
    spared = failures.shadows.get(name)
    shadows = {version: failures.of((name, version), case.index) or spared for version in case.shadows}
    return told | {version: reason for version, reason in shadows.items() if reason is not None}


def next_calls(cases: Iterable[Case], scores: Scores, failures: Failures) -> list[Call]:
    """The calls of the next round: asked steps that have no score yet; empty when every case can be answered."""
    return _calls(
        (case, step.version)
        for case in cases
        if isinstance(step := chosen_for(case, failures).step, Ask)
        and case.index not in scores.get((case.deployment.name, step.version), {})
    )


def shadow_calls(cases: Iterable[Case], failures: Failures) -> list[Call]:
    """The calls of shadows that are fit to be asked, without those that answer anyway."""
    return _calls(
        (case, version)
        for case in cases
        if case.deployment.name not in failures.shadows
        for version in case.shadows
        if failures.of((case.deployment.name, version), case.index) is None and not _answers(case, version, failures)
    )


def _answers(case: Case, version: int, failures: Failures) -> bool:
    step = chosen_for(case, failures).step
    return isinstance(step, Ask) and step.version == version


def merged(calls: Sequence[Call]) -> list[Call]:
    """One call per version, even when some cases have it as champion and others as shadow."""
    return _calls((case, call.name[1]) for call in calls for case in call.cases)


def _calls(asked: Iterable[tuple[Case, int]]) -> list[Call]:
    gathered: dict[Name, dict[int, Case]] = {}
    for case, version in asked:
        gathered.setdefault((case.deployment.name, version), {})[case.index] = case
    return [Call(name, tuple(cases.values())) for name, cases in gathered.items()]
