"""Which deployments are monitored: what is declared, what waits in the windows of each, and what is remembered of it.

An apply touches only those that were added, removed or changed. One that changed keeps its memory and its open requests; the
state of one that was taken away stays, for the day on which it is declared again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition, ProjectDefinition, SourceDefinition
from headrace.events.monitor import MonitorState
from headrace.instants import EARLIEST_S
from headrace_monitor.core.evaluation import lookback_s, sources_of
from headrace_monitor.core.watch import Watch, watch_of
from headrace_monitor.core.windows import Windows


@dataclass(slots=True)
class Watched:
    """A deployment that is monitored. `told_late`: how many requests and outcomes were told to have come too late."""

    project: ProjectDefinition
    deployment: DeploymentDefinition
    windows: Windows
    watch: Watch
    told_late: tuple[int, int]

    @property
    def sources(self) -> list[str]:
        """What its views read."""
        return sources_of(self.project, self.deployment)

    @property
    def needed_from_s(self) -> float:
        """The oldest instant that its open windows may still look at; -inf before its first window."""
        return self.windows.open_from_s - lookback_s(self.project, self.deployment)

    def late_since(self) -> tuple[int, int]:
        """What came too late since the window before was told."""
        requests, outcomes = self.told_late
        self.told_late = (self.windows.late_requests, self.windows.late_outcomes)
        return self.told_late[0] - requests, self.told_late[1] - outcomes

    def state(self, replay_from: dict[str, int], needed_from_s: float | None) -> MonitorState:
        """Enough to go on after a restart. `needed_from_s`: what lies before that instant may be missing from `replay_from` on."""
        closed_to_s = self.windows.closed_to_s if math.isfinite(self.windows.closed_to_s) else EARLIEST_S
        state = self.watch.state(replay_from, closed_to_s)
        late_requests, late_outcomes = self.told_late
        return replace(state, late_requests=late_requests, late_outcomes=late_outcomes, needed_from_s=needed_from_s)


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of deployments: those that are no more, those that were set up, and why others cannot be monitored."""

    gone: tuple[str, ...]
    set_up: tuple[str, ...]
    refused: Mapping[str, str]


class Deployments:
    """All that are declared (`declared`), those of them that are monitored (`watched`), and what was last kept (`states`)."""

    def __init__(self) -> None:
        self.declared: dict[str, DeploymentDefinition] = {}
        self.watched: dict[str, Watched] = {}
        self.states: dict[str, MonitorState] = {}
        self._projects: dict[str, ProjectDefinition] = {}

    def declare(self, projects: Sequence[ProjectDefinition]) -> None:
        """These and no others are declared from now on."""
        found = [(project, deployment) for project in projects for deployment in project.deployments]
        self._projects = {deployment.name: project for project, deployment in found}
        # NB: in place: others hold this dictionary.
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
        """The sources that views of a deployment read."""
        return sources_of(self._projects[name], self.declared[name])

    def set_up_all(self) -> Changed:
        """At the start: from what was last kept."""
        return self._set_up(list(self.declared), gone=())

    def apply(self, projects: Sequence[ProjectDefinition]) -> Changed:
        """Take up what is declared now."""
        before = dict(self.declared)
        self.declare(projects)
        others = [name for name, deployment in self.declared.items() if before.get(name) != deployment]
        gone = [name for name in before if name not in self.declared]
        old = {name: self.watched.pop(name) for name in (*others, *gone) if name in self.watched}
        for name, found in old.items():
            # NB: of one that was never kept there is nothing to remember, and its first decision is yet to be kept.
            if name in self.states:
                kept = self.states[name]
                self.states[name] = found.state(kept.replay_from, kept.needed_from_s)
        changed = self._set_up(others, gone)
        for name in old.keys() & self.watched.keys():
            self.watched[name].windows.adopt(old[name].windows)
        self._follow_projects()
        return changed

    def _follow_projects(self) -> None:
        """Of a deployment that is the same in a project that is not: where it reads other sources, these are new to it."""
        for name, found in self.watched.items():
            before, found.project = found.sources, self._projects[name]
            if found.sources != before:
                found.watch.profiles.clear()

    def _set_up(self, names: Sequence[str], gone: Sequence[str]) -> Changed:
        refused: dict[str, str] = {}
        for name in names:
            try:
                self.watched[name] = self._watched(name)
            except Exception as error:
                refused[name] = f"it cannot be monitored: {error}"
        return Changed(tuple(gone), tuple(name for name in names if name not in refused), refused)

    def _watched(self, name: str) -> Watched:
        deployment, state = self.declared[name], self.states.get(name)
        watch, windows = watch_of(deployment, state), Windows(deployment)
        if state is not None:
            windows.closed_to_s = state.closed_to_s if state.closed_to_s > EARLIEST_S else -math.inf
            windows.late_requests, windows.late_outcomes = state.late_requests, state.late_outcomes
        told_late = (windows.late_requests, windows.late_outcomes)
        return Watched(self._projects[name], deployment, windows, watch, told_late)

    def needed_from_s(self, others_s: Iterable[float]) -> float:
        """The oldest instant that an open window, or a row of one of these instants, may look at; -inf while there is none."""
        own = [found.needed_from_s for found in self.watched.values() if math.isfinite(found.windows.open_from_s)]
        back_s = max((lookback_s(self._projects[name], found) for name, found in self.declared.items()), default=0.0)
        return min([*own, *(at_s - back_s for at_s in others_s)], default=-math.inf)
