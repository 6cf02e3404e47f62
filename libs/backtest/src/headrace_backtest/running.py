"""A whole back-test: reads a history, tries each policy in the closed loop, fits the calendars, and judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.training import RetrainAccepted
from headrace.log.codec import Codec
from headrace.log.envelope import format_instant
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.project.applicable.wording import duration
from headrace.project.applied import Projects
from headrace.project.load import Allowed, load_allowed, load_build
from headrace.stats.losses import Yardstick
from headrace_backtest.calendars import composite, grid_of
from headrace_backtest.history import Floats, History
from headrace_backtest.judging import judge
from headrace_backtest.order import Order
from headrace_backtest.plants import parse, planted, refuse_outside
from headrace_backtest.policies import Policy, policies_of
from headrace_backtest.reading import Source, read
from headrace_backtest.replaying import Loop, Played, ready_after_s
from headrace_backtest.report import values_of, write_rows
from headrace_backtest.training import Trainer
from headrace_backtest.versions import Version

Progress = Callable[[float, str], None]
# The shares of the progress that reading and the fits of calendars take.
_READING, _CALENDARS = 0.2, 0.3


@dataclass(frozen=True)
class Place:
    """Where a back-test runs. `allowed`: what may be imported here; `now_s`: the present, in seconds since the epoch."""

    log: Log
    codec: Codec
    topics: Topics
    projects: Projects
    allowed: Allowed
    now_s: float


async def back_test(place: Place, order: Order, progress: Progress) -> dict[str, Any]:
    """The report of an order. Raises `Misconfigured` where it cannot be done, `Retryable` while the broker is away."""
    project, deployment = place.projects.declared(order.deployment)
    applied = place.projects.project_of(order.deployment)
    if deployment.training is None or applied is None:
        raise Misconfigured(
            f"{order.deployment} declares no training=Training(build=...): there is nothing to retrain, and no policy to try"
        )
    plants = [parse(text) for text in order.plants]
    build = load_build(applied.name, applied.reference, deployment.training.build, place.allowed)
    declared = load_allowed(applied.name, applied.reference, place.allowed)
    own = next(found for found in declared.deployments if found.name == order.deployment)
    policies = policies_of(own, deployment, Path(order.policies) if order.policies else None)
    to_s = place.now_s if order.to_s is None else order.to_s
    if to_s <= order.from_s:
        raise Misconfigured(f"--to ({format_instant(to_s)}) must lie after --from ({format_instant(order.from_s)})")
    source = Source(place.log, place.codec, place.topics, project, deployment, order.from_s, to_s, place.now_s)
    found = await read(source, lambda share: progress(_READING * share, "reading the log"))
    to_s = min(to_s, float(found.history.at_s[-1]) + 1.0)
    refuse_outside(plants, order.from_s, to_s)
    trainer = Trainer(planted(found.history, plants), deployment, build)
    start, notes = start_of(trainer, found.start, order.from_s)
    return await _tried(order, trainer, start, policies, to_s, (*found.notes, *notes), progress)


async def _tried(
    order: Order,
    trainer: Trainer,
    start: Version,
    policies: Sequence[Policy],
    to_s: float,
    notes: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    deployment, history = trainer.deployment, trainer.history
    ready_s, span = ready_after_s(deployment, order.training_s), (order.from_s, to_s)
    judged = history.judged(*span)
    if not judged.any():
        raise Misconfigured(f"no request of {deployment.name} in this stretch has a label: nothing can be judged")
    yardstick = trainer.target.yardstick(history.labels[judged])
    never = never_of(history, start, yardstick, span)
    played = await _played(trainer, start, policies, span, ready_s, progress)
    grid_s = grid_of(*span, deployment.evaluation_window_s, order.fits)
    matrix = composite(
        trainer,
        start,
        yardstick,
        grid_s,
        to_s,
        ready_s,
        lambda share: progress(1 - _CALENDARS * (1 - share), "fitting the versions of calendars"),
    )
    plants = [parse(text) for text in order.plants]
    worth = [judge(name, one, never, history, yardstick, span, plants, matrix) for name, one in played.items()]
    if order.rows:
        write_rows(Path(order.rows), history, yardstick, never, played, span)
    said = [*notes, *_notes(deployment, grid_s, ready_s)]
    return values_of(deployment.name, span, history, yardstick, never, matrix, played, worth, said)


async def _played(
    trainer: Trainer,
    start: Version,
    policies: Sequence[Policy],
    span: tuple[float, float],
    ready_s: float,
    progress: Progress,
) -> dict[str, Played]:
    """Each policy in the closed loop, by name."""
    played: dict[str, Played] = {}
    for number, policy in enumerate(policies):

        def progressed(share: float, number: int = number, name: str = policy.name) -> None:
            whole = (number + share) / len(policies)
            progress(_READING + (1 - _READING - _CALENDARS) * whole, f"trying {name}")

        own = replace(trainer, deployment=policy.deployment)
        played[policy.name] = await Loop(own, policy.deployment, start, *span, ready_s).run(progressed)
    return played


def never_of(history: History, start: Version, yardstick: Yardstick, span: tuple[float, float]) -> Floats:
    """The losses of a version that answers everything in a stretch, by place; NaN where there is no label."""
    found, judged = np.full(len(history), np.nan), history.judged(*span)
    first, last = history.first_at(span[0]), history.first_at(span[1])
    scores = history.answered(start.scoring(history.matrix[first:last]), first)
    found[judged] = yardstick.losses(scores[judged[first:last]], history.labels[judged])
    return found


def start_of(trainer: Trainer, loaded: Version | None, from_s: float) -> tuple[Version, tuple[str, ...]]:
    """The version that answers at the beginning. Raises `Misconfigured` where none can be loaded nor trained."""
    if loaded is not None:
        if loaded.registered.lineage.request_to_s > from_s:
            return loaded, (
                f"version {loaded.number} was trained on requests after --from: it looks better than it was",
            )
        return loaded, ()
    accepted = RetrainAccepted(trainer.deployment.name, "start", "start", "first", "the beginning", from_s)
    run = trainer.run(accepted, None, 1)
    if run.version is None:
        raise Misconfigured(
            f"no version of {trainer.deployment.name} can answer at {format_instant(from_s)}: none that answered then can"
            f" be loaded, and none can be trained on what was labelled by then ({run.finished.reason}); choose a later --from"
        )
    return run.version, ()


def _notes(deployment: DeploymentDefinition, grid_s: Floats, ready_s: float) -> Sequence[str]:
    notes = [
        f"a version answers {duration(ready_s)} of event time after it was asked for; detectors begin cold at --from"
    ]
    if len(grid_s) > 1:
        every = duration(float(grid_s[1] - grid_s[0]))
        notes.append(
            f"calendars choose among {len(grid_s)} instants, {every} apart: one fit each on all of the history, without gates"
        )
    if deployment.features:
        notes.append("findings about sources and about skew are not replayed")
    return notes
