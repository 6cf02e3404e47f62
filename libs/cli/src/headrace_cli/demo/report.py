"""The demo's report: every figure is read back from the log; none is kept during the run."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from headrace.asking.decisions import joined
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.events.registry import RolloutCompleted, VersionRegistered
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.evidence.labelled import labels_by_request
from headrace.log.codec import Message
from headrace_cli.projects.expectations import closed_windows
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

DAY_S = 86_400.0
_LEAST = 1e-15

Floats = NDArray[np.float64]


async def build_report(session: Session, live_from_s: float, wall_s: float, events: int) -> dict[str, Any]:
    """All figures of the run. `events`: messages and requests that were sent."""
    requests = [message.envelope.id for message in await session.all_of("inference.requests")]
    decisions = joined(message.event for message in await session.all_of("inference.decisions"))
    labels = await labels_in(session, decisions)
    facts = [
        message
        for base in ("training.facts", "registry.facts", "monitor.findings")
        for message in await session.all_of(base)
    ]
    windows = await closed_windows(session)
    live = [decision for decision in decisions if decision.at_s >= live_from_s]
    switches = _switches(facts)
    return {
        **counts(requests, decisions, labels),
        "dead_lettered": await _dead_lettered(session),
        "versions": _versions(facts, live, labels),
        "findings": [_finding(m.event) for m in facts if isinstance(m.event, FindingOpened)],
        "retrains": _retrains(facts),
        "switches": switches,
        **_before_and_after(live, labels, switches),
        **_parity(windows),
        "wall_s": round(wall_s, 1),
        "events_per_s": round(events / wall_s, 1),
    }


async def labels_in(session: Session, decisions: Sequence[DecisionMade]) -> dict[str, float]:
    """The label of each request that has one, by its id."""
    outcomes = await session.all_of("inference.outcomes")
    found: dict[str, float] = {}
    for _, deployment in session.projects.deployments():
        found |= labels_by_request(deployment, decisions, outcomes)
    return found


def counts(requests: Sequence[str], decisions: Sequence[DecisionMade], labels: dict[str, float]) -> dict[str, Any]:
    """Counts that show whether anything was lost or duplicated."""
    asked, decided = set(requests), Counter(decision.request_id for decision in decisions)
    return {
        "requests": len(asked),
        "decisions": len(decisions),
        "lost": len(asked - decided.keys()),
        "duplicated": sum(decided.values()) - len(decided),
        "outcomes_joined": sum(1 for decision in decisions if decision.request_id in labels),
        "answers": dict(Counter(str(type(decision.answer).__struct_config__.tag) for decision in decisions)),
    }


async def _dead_lettered(session: Session) -> int:
    partitions = [
        tp for service in session.topics.services for tp in await session.log.partitions(session.topics.dlq(service))
    ]
    # NB: control records of transactions take offsets too, so only readable records are counted.
    reader = await session.log.reader(partitions, "beginning")
    ends = await session.log.end_offsets(partitions)
    count = 0
    while any([await reader.position(tp) < ends[tp] for tp in partitions]):
        count += len(await reader.fetch(0.5))
    await reader.close()
    return count


def _scores(decision: DecisionMade) -> list[Score]:
    answer = decision.answer
    served = [answer.score] if isinstance(answer, Served | FellBack) and answer.score.version else []
    return [*served, *decision.shadows]


def _versions(facts: Sequence[Message], live: Sequence[DecisionMade], labels: dict[str, float]) -> list[dict[str, Any]]:
    found = []
    for message in facts:
        registered = message.event
        if isinstance(registered, VersionRegistered):
            pairs = [
                (score.value, labels[decision.request_id])
                for decision in live
                for score in _scores(decision)
                if score.version == registered.version and decision.request_id in labels and score.value is not None
            ]
            found.append({
                "id": registered.version,
                "reason": registered.reason,
                "trained_rows": registered.trained_rows,
                "scored_rows": len(pairs),
                **_quality(np.array(pairs)),
                "digest": registered.model_digest,
            })  # fmt: skip
    return found


def _quality(pairs: Floats) -> dict[str, float | None]:
    if len(pairs) == 0:
        return {"auc": None, "log_loss": None}
    scores, truths = pairs[:, 0], pairs[:, 1]
    auc = float(roc_auc_score(truths, scores)) if 0 < truths.sum() < len(truths) else None
    return {"auc": auc, "log_loss": float(_losses(scores, truths).mean())}


def _losses(scores: Floats, truths: Floats) -> Floats:
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(truths * np.log(clipped) + (1 - truths) * np.log(1 - clipped))


def _finding(found: FindingOpened) -> dict[str, Any]:
    return {
        "id": found.finding,
        "kind": found.kind,
        "at": instant(found.at_s),
        "summary": found.summary,
        "measured": found.measured,
    }


def _retrains(facts: Sequence[Message]) -> list[dict[str, Any]]:
    finished = [m.event for m in facts if isinstance(m.event, TrainingFinished)]
    ends = {event.run: event for event in finished}
    return [
        {
            "run": m.event.run,
            "cause": m.event.cause,
            "reason": m.event.reason,
            "outcome": ends[m.event.run].outcome if m.event.run in ends else "running",
            "finished": sum(event.run == m.event.run for event in finished),
        }
        for m in facts
        if isinstance(m.event, RetrainAccepted)
    ]


def _switches(facts: Sequence[Message]) -> list[dict[str, Any]]:
    return [
        {"version": m.event.version, "at": instant(m.envelope.time_s)}
        for m in facts
        if isinstance(m.event, RolloutCompleted)
    ]


def _before_and_after(
    live: Sequence[DecisionMade], labels: dict[str, float], switches: list[dict[str, Any]]
) -> dict[str, Any]:
    """Old and new version on the same requests, after the last switch."""
    names = ("auc_before", "auc_after", "log_loss_before", "log_loss_after", "log_loss_difference_95", "compared_rows")
    if len(switches) < 2:
        return dict.fromkeys(names)
    new, old = switches[-1]["version"], switches[-2]["version"]
    rows = []
    for decision in live:
        by_version = {score.version: score.value for score in _scores(decision)}
        if new in by_version and old in by_version and decision.request_id in labels:
            rows.append((by_version[old], by_version[new], labels[decision.request_id], decision.at_s))
    if not rows:
        return dict.fromkeys(names)
    table = np.array(rows, dtype=np.float64)
    before, after = _quality(table[:, [0, 2]]), _quality(table[:, [1, 2]])
    difference = _losses(table[:, 1], table[:, 2]) - _losses(table[:, 0], table[:, 2])
    return dict(
        zip(
            names,
            (
                before["auc"],
                after["auc"],
                before["log_loss"],
                after["log_loss"],
                _interval(difference, table[:, 3]),
                len(rows),
            ),
            strict=True,
        )
    )


def _interval(differences: Floats, at_s: Floats) -> tuple[float, float] | None:
    """95 % interval of the mean difference, with days as blocks (normal approximation of the daily sums' mean)."""
    days = np.floor(at_s / DAY_S)
    sums = np.array([differences[days == day].sum() for day in np.unique(days)])
    if len(sums) < 2:
        return None
    mean = float(differences.mean())
    error = 1.96 * float(sums.std(ddof=1)) * math.sqrt(len(sums)) / len(differences)
    return mean - error, mean + error


def _parity(windows: Sequence[WindowClosed]) -> dict[str, Any]:
    measured = [window for window in windows if window.parity_rows]
    rows = sum(window.parity_rows for window in measured)
    if not rows:
        return {"parity_tiles": None, "parity_as_of": None, "parity_rows": 0, "max_feature_lag_event_s": None}
    return {
        "parity_tiles": sum((window.parity_tiles or 0.0) * window.parity_rows for window in measured) / rows,
        "parity_as_of": sum((window.parity_as_of or 0.0) * window.parity_rows for window in measured) / rows,
        "parity_rows": rows,
        "max_feature_lag_event_s": max(window.max_feature_lag_s for window in measured),
    }
