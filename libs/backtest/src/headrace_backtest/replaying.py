"""The closed loop: what a policy asks for is trained, and what was trained answers the requests that come after it.

At each hour of event time (or a quarter of a window, if that is less) the monitor reads what came since. What it asks of
the trainer is trained on what was labelled by then. The version answers from `ready_s` after its request on, which stands
for the time that training and rollout take.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import FindingOpened
from headrace.events.training import RetrainAccepted, RetrainRequested
from headrace_backtest.history import History
from headrace_backtest.training import Run, Trainer
from headrace_backtest.versions import Version
from headrace_backtest.watching import Course, Told, Watching
from headrace_trainer.core.triggers import Runs, apply, on_request

HOUR_S = 3600.0
# So many looks at the most, however long the stretch is.
MOST_LOOKS = 20_000
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Retrain:
    """A retrain that was asked for. `outcome`: as in `TrainingFinished`, or `refused`. `ready_s`: since when its version
    answers, None where it never does.
    """

    at_s: float
    cause: str
    reason: str
    outcome: str
    detail: str
    version: int | None = None
    ready_s: float | None = None


@dataclass
class Played:
    """What a policy led to."""

    course: Course
    told: Told
    retrains: list[Retrain] = field(default_factory=list)

    @property
    def alarms(self) -> list[FindingOpened]:
        """Findings that say that the model no longer holds, or that call somebody."""
        return [found for found in self.told.opened if found.kind == "drift" or found.severity == "page"]

    @property
    def made(self) -> list[Retrain]:
        """The retrains whose versions answered."""
        return [found for found in self.retrains if found.ready_s is not None]


def rollout_s(plan: RolloutDefinition) -> float:
    """The least time from a version's registration until it answers every request, by its rollout policy.

    >>> rollout_s(RolloutDefinition("blue_green")), rollout_s(RolloutDefinition("canary", shares=(.1, 1.), step_s=60.))
    (0.0, 60.0)
    """
    match plan.policy:
        case "canary":
            return plan.shadow_first_s + plan.step_s * max(len(plan.shares) - 1, 0)
        case "ab_test" | "shadow":
            return plan.duration_s
        case _:
            return 0.0


class Loop:
    """One policy over one history, from `from_s` to `to_s`.

    `ready_s`: from a request until its version answers. `look_s`: how much event time is read at once, at the most.
    """

    def __init__(
        self,
        trainer: Trainer,
        deployment: DeploymentDefinition,
        start: Version,
        from_s: float,
        to_s: float,
        ready_s: float,
        look_s: float = HOUR_S,
    ) -> None:
        self._trainer, self._deployment, self._ready_s, self._look_s = trainer, deployment, ready_s, look_s
        self._history: History = trainer.history
        self._from_s, self._to_s = from_s, to_s
        course = Course.of(self._history)
        self._watching = Watching(self._history, deployment, course, from_s)
        self._played = Played(course, self._watching.told)
        self._champion, self._runs, self._number = start, Runs(), start.number
        self._due: list[tuple[float, RetrainAccepted, Run]] = []
        self._asked = 0
        known = np.flatnonzero(self._history.is_told & (self._history.known_s >= from_s))
        self._labels = known[np.argsort(self._history.known_s[known], kind="stable")]
        self._label_s = self._history.known_s[self._labels]

    async def run(self, progress: Progress = lambda share: None) -> Played:
        """Replay to the end, and until the last labels are judged."""
        await self._watching.start(self._champion)
        self._answer_from(self._from_s)
        label = self._deployment.label
        end_s = self._to_s + (0.0 if label is None else label.horizon_s) + self._deployment.evaluation_window_s
        width_s = min(self._look_s, self._deployment.evaluation_window_s / 4)
        width_s = max(width_s, (end_s - self._from_s) / MOST_LOOKS)
        clock_s = self._from_s
        while clock_s < end_s:
            next_s = min([clock_s + width_s, end_s, *(due_s for due_s, _, _ in self._due)])
            await self._read(clock_s, next_s)
            clock_s = next_s
            await self._finish(clock_s)
            await self._ask(clock_s)
            progress((clock_s - self._from_s) / (end_s - self._from_s))
        return self._played

    async def _read(self, from_s: float, to_s: float) -> None:
        history = self._history
        first, last = history.first_at(from_s), history.first_at(min(to_s, self._to_s))
        begin, end = np.searchsorted(self._label_s, [from_s, to_s], side="left")
        # NB: labels of requests that were answered before the stretch belong to no decision of it.
        labels = [place for place in self._labels[begin:end].tolist() if self._played.course.numbers[place]]
        await self._watching.read(range(first, last), labels, to_s)

    def _answer_from(self, at_s: float) -> None:
        """The champion answers every request from an instant on, as far as no other one comes."""
        history, course = self._history, self._played.course
        first, last = history.first_at(at_s), history.first_at(self._to_s)
        if first < last:
            scores = self._champion.scoring(history.matrix[first:last])
            course.answers[first:last] = history.answered(scores, first)
            course.numbers[first:last] = self._champion.number

    async def _ask(self, clock_s: float) -> None:
        """Give the trainer what the monitor asked for since."""
        told = self._watching.told
        while self._asked < len(told.requests):
            ident, request = told.requests[self._asked]
            self._asked += 1
            await self._on_request(ident, request, clock_s)

    async def _on_request(self, ident: str, request: RetrainRequested, clock_s: float) -> None:
        at_s = clock_s if request.clock_s is None else request.clock_s
        step = on_request(self._runs, request, ident, self._deployment, at_s, int(clock_s * 1000))
        self._runs = step.state
        for fact in step.facts:
            await self._watching.tell(fact, f"answer-{ident}")
            if isinstance(fact, RetrainAccepted):
                run = self._trainer.run(fact, self._champion, self._number + 1)
                self._number += run.version is not None
                self._due.append((clock_s + self._ready_s, fact, run))
            else:
                reason = getattr(fact, "reason", "it joined a run")
                self._played.retrains.append(Retrain(at_s, request.cause, request.reason, "refused", reason))

    async def _finish(self, clock_s: float) -> None:
        """End the runs that are due, and switch to their versions."""
        over = [found for found in self._due if found[0] <= clock_s]
        self._due = [found for found in self._due if found[0] > clock_s]
        for due_s, accepted, run in over:
            self._runs = apply(self._runs, run.finished)
            await self._watching.tell(run.finished, f"finished-{accepted.run}")
            is_champion = run.version is not None and run.finished.is_released
            ready_s = due_s if is_champion and due_s < self._to_s else None
            self._played.retrains.append(
                Retrain(
                    accepted.clock_s,
                    accepted.cause,
                    accepted.reason,
                    run.finished.outcome,
                    run.finished.reason,
                    None if run.version is None else run.version.number,
                    ready_s,
                )
            )
            if is_champion and run.version is not None:
                was, self._champion = self._champion.number, run.version
                await self._watching.promote(run.version, was)
                self._answer_from(due_s)


def ready_after_s(deployment: DeploymentDefinition, training_s: float) -> float:
    """From a request until its version answers: the training, and the rollout that the project declares."""
    found = training_s + rollout_s(deployment.rollout)
    return found if math.isfinite(found) else training_s
