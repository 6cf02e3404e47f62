"""The evaluation windows of a deployment: closed ones as the monitor published them, open ones counted on the log.

A window is open until `coverage` of its requests have their label, or the label horizon has passed. Early labels are no fair sample,
so an open window has counts and estimates and no figure. Its requests and outcomes are read from where the monitor would begin after a
restart.
"""

import contextlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.events.charts import Estimated
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved
from headrace.events.monitor import MonitorState, WindowClosed, WindowEstimated
from headrace.evidence.labelled import packed_rows
from headrace.features.outcomes import Asked, key_of, labels_of, table_of
from headrace.features.own import is_foreign
from headrace.log.codec import Message
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace_cli.evidence.opened import Spoken
from headrace_cli.session import Session

_TOPICS = ("inference.decisions", "inference.outcomes")


class OpenWindow(msgspec.Struct, frozen=True):
    """A window that has not closed. `labelled`: so many of its requests have a label by now. `is_full`: a later request is there.

    `estimates`: what is expected of it, () where it was not estimated; `unestimated`: why not, "" where that is not known.
    """

    from_s: float
    to_s: float
    requests: int
    labelled: int
    is_full: bool
    estimates: tuple[Estimated, ...] = ()
    unestimated: str = ""


class Watched(msgspec.Struct, frozen=True):
    """The windows of a deployment, oldest first. `closed_count`, `open_count`: how many there are in all. `classes`: of its label."""

    deployment: str
    window_s: float
    closed: tuple[WindowClosed, ...]
    open: tuple[OpenWindow, ...]
    closed_count: int
    open_count: int
    classes: tuple[str, ...] = ()


async def read_windows(session: Session, deployment: str, last: int) -> Watched:
    """The newest `last` closed windows, and as many open ones. Raises `Misconfigured` for a deployment that nobody declares."""
    declared = session.projects.declared(deployment)[1]
    found = [message.event for message in await session.all_of("monitor.windows")]
    closed = closed_of(found, deployment)
    memory = (await session.current_of("monitor.state")).get(deployment)
    state = memory.event if memory is not None and isinstance(memory.event, MonitorState) else None
    waiting = await _waiting(session, declared, state)
    closed_to_s = max((window.to_s for window in closed), default=-np.inf)
    open_ = open_of(declared, waiting, max(closed_to_s, -np.inf if state is None else state.closed_to_s), found)
    return Watched(
        deployment,
        declared.evaluation_window_s,
        tuple(closed[max(len(closed) - last, 0) :]),
        tuple(open_[max(len(open_) - last, 0) :]),
        len(closed),
        len(open_),
        () if declared.label is None else declared.label.classes,
    )


def closed_of(events: Iterable[Any], deployment: str) -> list[WindowClosed]:
    """The closed windows among these events, oldest first. Of two records of one window the newer one counts."""
    mine = (event for event in events if isinstance(event, WindowClosed) and event.deployment == deployment)
    return sorted({(event.from_s, event.to_s): event for event in mine}.values(), key=lambda event: event.to_s)


class Waiting:
    """The requests and outcomes of a deployment, as read from the log: 24 bytes per request, 48 per outcome."""

    def __init__(self, deployment: DeploymentDefinition) -> None:
        self._deployment = deployment
        self._units, self._requests, self._at_s = array("Q"), array("Q"), array("d")
        self._outcomes = bytearray()

    def take(self, message: Message) -> None:
        """Take a decision or an outcome; those of other deployments are left out."""
        match message.event:
            case DecisionMade(deployment=self._deployment.name):
                self._units.append(key_of(message.event.unit))
                self._requests.append(key_of(message.event.request_id))
                self._at_s.append(message.event.at_s)
            case OutcomeObserved(deployment=self._deployment.name):
                self._outcomes += packed_rows(self._deployment, [message])

    def asked(self, from_s: float) -> Asked:
        """The requests from an instant on."""
        at_s = np.array(self._at_s, dtype=np.float64)
        is_open = at_s >= from_s
        units, requests = (np.array(found, dtype=np.uint64)[is_open] for found in (self._units, self._requests))
        return Asked(units, at_s[is_open], requests)

    def has_label(self, asked: Asked) -> NDArray[np.bool_]:
        """Whether a label of each of these requests is there."""
        if self._deployment.label is None or not len(asked):
            return np.zeros(len(asked), dtype=np.bool_)
        return np.isfinite(labels_of(self._deployment.label, asked, table_of(self._outcomes)).first_s)


def open_of(
    deployment: DeploymentDefinition, waiting: Waiting, closed_to_s: float, events: Iterable[Any]
) -> list[OpenWindow]:
    """The open windows of these requests, oldest first. `closed_to_s`: windows before it are closed; `events`: with estimates."""
    asked, length_s = waiting.asked(closed_to_s), deployment.evaluation_window_s
    has_label = waiting.has_label(asked)
    starts = np.floor(asked.at_s / length_s) * length_s
    newest_s = float(asked.at_s.max()) if len(asked) else -np.inf
    mine = (event for event in events if isinstance(event, WindowEstimated) and event.deployment == deployment.name)
    estimated = {event.from_s: event for event in mine}
    found = []
    for start_s in np.unique(starts).tolist():
        inside, end_s, event = starts == start_s, start_s + length_s, estimated.get(start_s)
        counts = int(inside.sum()), int(has_label[inside].sum())
        known = ((), "") if event is None or event.to_s != end_s else (event.estimates, event.unestimated)
        found.append(OpenWindow(start_s, end_s, *counts, newest_s >= end_s, *known))
    return found


async def _waiting(session: Session, deployment: DeploymentDefinition, state: MonitorState | None) -> Waiting:
    """What the log holds of the deployment, from where its open windows begin."""
    found, topics = Waiting(deployment), [session.topics.name(base) for base in _TOPICS]
    ends, spoken = await pin_offsets(session.log, topics), Spoken()

    def take(record: Record) -> None:
        if not is_foreign(record, deployment.name):
            with contextlib.suppress(Poison):
                found.take(session.codec.decode(record))

    def say(done: int, total: int) -> None:
        spoken(f"reading what waits for labels: {done:,} of {total:,} records")

    await read_up_to(session.log, ends, take, say, _starts(ends, state))
    return found


def _starts(ends: Iterable[TopicPartition], state: MonitorState | None) -> dict[TopicPartition, int]:
    """The offsets from which open windows can be rebuilt; the beginning where nothing is remembered."""
    known = {} if state is None else state.replay_from
    return {tp: known.get(f"{tp.topic}/{tp.partition}", 0) for tp in ends}


def shares(window: OpenWindow | WindowClosed) -> float | None:
    """The share of a window's requests that have a label; None where nothing was asked."""
    return window.labelled / window.requests if window.requests else None


def plain_windows(found: Watched, plain: Any) -> dict[str, Any]:
    """The windows as values of JSON, without sketches. `plain`: makes builtins of a Struct."""
    bare = [_bare(window) for window in found.closed]
    return {
        "deployment": found.deployment,
        "window_s": found.window_s,
        "closed": [plain(window) | {"labelled_share": shares(window)} for window in bare],
        "open": [plain(window) | {"verdict": "UNMEASURED", "labelled_share": shares(window)} for window in found.open],
        "closed_count": found.closed_count,
        "open_count": found.open_count,
    }


def _bare(window: WindowClosed) -> WindowClosed:
    columns: Sequence[Any] = [
        msgspec.structs.replace(column, sketch=b"", distinct_sketch=b"") for column in window.columns
    ]
    return msgspec.structs.replace(window, columns=tuple(columns))
