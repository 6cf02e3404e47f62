"""Which deployments are monitored: what is declared, what is open in each, and what is remembered of each.

An apply touches only the deployments that were added, removed or changed. One that changed keeps its memory and its open
requests. The memory of one that was removed is kept for the day on which it is declared again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition, ProjectDefinition, SourceDefinition
from headrace.events.monitor import MonitorState
from headrace.instants import EARLIEST_S
from headrace_monitor.core.evaluation import lookback_s, sources_of
from headrace_monitor.core.findings import Findings, findings_of, forget_profiles, memory_of
from headrace_monitor.core.held_rows import InMemory, Keep
from headrace_monitor.core.input_watch import InputWatch
from headrace_monitor.core.references import References
from headrace_monitor.core.windows import Late, Windows


@dataclass(slots=True)
class Watched:
    """A deployment that is monitored.

    `inputs`: what its requests look like while they come. `reported_late`: what came too late and was reported so far.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    windows: Windows
    findings: Findings
    reported_late: Late
    inputs: InputWatch

    @property
    def sources(self) -> list[str]:
        """The names of the sources that its views read."""
        return sources_of(self.project, self.deployment)

    @property
    def needed_from_s(self) -> float:
        """The oldest instant that its open windows may still look at; -inf before its first window."""
        return self.windows.open_from_s - lookback_s(self.project, self.deployment)

    def report_late(self) -> Late:
        """What came too late since the last report; this is the next report."""
        before, self.reported_late = self.reported_late, self.windows.late
        return Late(*(now - then for now, then in zip(self.reported_late, before, strict=True)))

    def memory(self, replay_from: dict[str, int], needed_from_s: float | None) -> MonitorState:
        """Enough to go on after a restart. The arguments are those of `MonitorState`."""
        closed_to_s = self.windows.closed_to_s if math.isfinite(self.windows.closed_to_s) else EARLIEST_S
        memory = memory_of(self.findings, replay_from, closed_to_s)
        judged_to_s, closed_at_s = self.inputs.judged_to_s, self.windows.closed_at_s
        return replace(
            memory,
            late_requests=self.reported_late.requests,
            late_outcomes=self.reported_late.outcomes,
            late_corrections=self.reported_late.corrections,
            closed_at_s=closed_at_s if math.isfinite(closed_at_s) else None,
            needed_from_s=needed_from_s,
            inputs_to_s=judged_to_s if math.isfinite(judged_to_s) else None,
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of deployments: those that are gone, those that were set up, and why others cannot be monitored."""

    gone: tuple[str, ...] = ()
    set_up: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


class Deployments:
    """The deployments that are declared (`declared`), those of them that are monitored (`watched`), and the newest memory of
    each deployment (`memories`), all by name. `keep`: where rows lie that wait for labels."""

    def __init__(
        self, keep: Keep = InMemory, references: References | None = None, decisions: str = "inference.decisions.v1"
    ) -> None:
        self._keep, self._references, self._decisions = keep, references or References(), decisions
        self.declared: dict[str, DeploymentDefinition] = {}
        self.watched: dict[str, Watched] = {}
        self.memories: dict[str, MonitorState] = {}
        self._projects: dict[str, ProjectDefinition] = {}

    def declare(self, projects: Sequence[ProjectDefinition]) -> None:
        """The deployments of these projects and no others are declared from now on."""
        found = [(project, deployment) for project in projects for deployment in project.deployments]
        self._projects = {deployment.name: project for project, deployment in found}
        # NB: in place, because others hold this dictionary.
        self.declared.clear()
        self.declared.update({deployment.name: deployment for _, deployment in found})

    def sources(self) -> dict[str, SourceDefinition]:
        """The sources that views of deployments read, by name."""
        found: dict[str, SourceDefinition] = {}
        for name in self.declared:
            used = self.sources_of(name)
            found |= {source.name: source for source in self._projects[name].sources if source.name in used}
        return found

    def sources_of(self, name: str) -> list[str]:
        """The names of the sources that views of a declared deployment read."""
        return sources_of(self._projects[name], self.declared[name])

    def set_up_all(self) -> Changed:
        """Set up every declared deployment from its memory, at the start."""
        return self._set_up(list(self.declared), gone=())

    def redeclare(self, projects: Sequence[ProjectDefinition]) -> Changed:
        """These projects are declared from now on: set up what is new or changed, and leave alone what did not change."""
        before = dict(self.declared)
        self.declare(projects)
        others = [name for name, deployment in self.declared.items() if before.get(name) != deployment]
        gone = [name for name in before if name not in self.declared]
        old = {name: self.watched.pop(name) for name in (*others, *gone) if name in self.watched}
        for name, found in old.items():
            # NB: of one that has no memory yet there is nothing to remember: its first decision is still to come.
            if name in self.memories:
                kept = self.memories[name]
                self.memories[name] = found.memory(kept.replay_from, kept.needed_from_s)
        changed = self._set_up(others, gone)
        for name in old.keys() & self.watched.keys():
            self.watched[name].windows.adopt(old[name].windows)
            self.watched[name].inputs.adopt(old[name].inputs)
        self._follow_projects()
        return changed

    def needed_from_s(self, others_s: Iterable[float]) -> float:
        """The oldest instant that an open window may look at, or a row of one of the instants `others_s`; -inf without any."""
        own = [found.needed_from_s for found in self.watched.values() if math.isfinite(found.windows.open_from_s)]
        back_s = max((lookback_s(self._projects[name], found) for name, found in self.declared.items()), default=0.0)
        return min([*own, *(at_s - back_s for at_s in others_s)], default=-math.inf)

    def due(self, now_s: float) -> list[str]:
        """The deployments of which a window may have come to an hour at which it closes, or may be estimated, or whose inputs
        are to be looked at. `now_s`: of the monotonic clock.
        """
        return [
            name
            for name, found in self.watched.items()
            if _is_due(found.windows) or found.inputs.is_due(found.windows.highest_s, now_s)
        ]

    def holds(self) -> dict[str, tuple[int, int]]:
        """How many bytes the open windows and their labels hold, and the bound of each."""
        windows = [found.windows for found in self.watched.values()]
        limit = max((found.limit_bytes for found in windows), default=0) * max(len(windows), 1)
        labels = [one.labels.held_bytes + one.corrections.held_bytes for one in windows if one.labels is not None]
        inputs = [found.inputs.live for found in self.watched.values()]
        bound = sum(found.limit_bytes for found in inputs)
        return {
            "windows": (sum(found.held_bytes for found in windows), limit),
            "labels": (sum(labels), limit),
            "profiles": (sum(found.held_bytes for found in inputs), bound),
        }

    def _follow_projects(self) -> None:
        """A deployment that is the same in a project that is not may read other sources from now on."""
        for name, found in self.watched.items():
            before, found.project = found.sources, self._projects[name]
            if found.sources != before:
                found.findings = forget_profiles(found.findings)

    def _set_up(self, names: Sequence[str], gone: Sequence[str]) -> Changed:
        refused: dict[str, str] = {}
        for name in names:
            try:
                self.watched[name] = self._watched(name)
            except Exception as error:
                refused[name] = f"it cannot be monitored: {error}"
        return Changed(tuple(gone), tuple(name for name in names if name not in refused), refused)

    def _watched(self, name: str) -> Watched:
        deployment, memory = self.declared[name], self.memories.get(name)
        findings, windows = findings_of(deployment, memory), Windows(deployment, keep=self._keep)
        if memory is not None:
            windows.closed_to_s = memory.closed_to_s if memory.closed_to_s > EARLIEST_S else -math.inf
            windows.closed_at_s = windows.closed_to_s if memory.closed_at_s is None else memory.closed_at_s
            windows.late_requests, windows.late_outcomes = memory.late_requests, memory.late_outcomes
            windows.corrections.count = memory.late_corrections
        windows.estimated_to_s = max(findings.estimation.to_s, windows.closed_to_s)
        judged_to_s = None if memory is None else memory.inputs_to_s
        inputs = InputWatch(
            name, deployment.evaluation_window_s, self._decisions, self._references,
            -math.inf if judged_to_s is None else judged_to_s,
        )  # fmt: skip
        return Watched(self._projects[name], deployment, windows, findings, windows.late, inputs)


def _is_due(windows: Windows) -> bool:
    highest_s = windows.highest_s
    return windows.may_close_by(highest_s) or windows.estimable(highest_s) is not None
