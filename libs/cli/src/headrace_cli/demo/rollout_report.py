"""The second act's report: each rollout's end with the evidence, and the decisions, labels and time that it took; all read from the log."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from headrace.asking.decisions import joined
from headrace.events.inference import DecisionMade, FellBack, Served
from headrace.events.registry import RolledBack, RolloutAborted, RolloutAdvanced, RolloutCompleted, RolloutStarted
from headrace.log.codec import Message
from headrace_cli.demo.report import counts, labels_in
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

DAY_S = 86_400.0
_ENDS = (RolloutCompleted, RolloutAborted, RolledBack)


async def build_rollout_report(
    session: Session, deployment: str, parts: Mapping[str, int], wall_s: float
) -> dict[str, Any]:
    """All figures of the act. `parts`: the version of each part by its name."""
    facts = [m for m in await session.all_of("registry.facts") if getattr(m.event, "deployment", "") == deployment]
    verdicts = [message.event for message in await session.all_of("monitor.verdicts")]
    messages = await session.all_of("inference.decisions")
    whole = iter(joined(message.event for message in messages))
    decisions = [replace(m, event=next(whole)) for m in messages if isinstance(m.event, DecisionMade)]
    requests = [message.envelope.id for message in await session.all_of("inference.requests")]
    labels = await labels_in(session, [message.event for message in decisions])
    rollouts = [_rollout(name, version, facts, verdicts, decisions) for name, version in parts.items()]
    return {
        **counts(requests, [message.event for message in decisions], labels),
        "rollouts": rollouts,
        "as_expected": [found["outcome"] for found in rollouts] == ["promoted", "rolled back", "rolled back"],
        "wall_s": round(wall_s, 1),
    }


def _rollout(
    name: str, version: int, facts: Sequence[Message], verdicts: Sequence[Any], decisions: Sequence[Message]
) -> dict[str, Any]:
    about = [m for m in facts if getattr(m.event, "version", None) == version]
    start = next((m for m in about if isinstance(m.event, RolloutStarted)), None)
    end = next((m for m in reversed(about) if isinstance(m.event, _ENDS)), None)
    ended_ms = end.record.timestamp_ms if end else None
    last = next((v for v in reversed(verdicts) if v.version == version), None)
    return {
        "part": name,
        "version": version,
        "outcome": _outcome(end.event) if end else "not ended",
        "reason": getattr(end.event, "reason", "") if end else "",
        "steps": _steps([m for m in about if isinstance(m.event, RolloutAdvanced)]),
        "evidence": msgspec.to_builtins(end.event.evidence) if end else [],
        **_event_time([m.event for m in about if isinstance(m.event, RolloutAdvanced)], end),
        "labels": last.label_count if last else 0,
        "blocks": last.blocks if last else 0,
        **_effort(version, start, ended_ms, decisions),
    }


def _event_time(advanced: Sequence[RolloutAdvanced], end: Message | None) -> dict[str, Any]:
    """When the first step began and when the rollout ended, by the deployment's clock, and the days between."""
    began_s = next((event.clock_s for event in advanced if event.clock_s is not None), None)
    ended_s = None if end is None else end.event.clock_s
    days = None if began_s is None or ended_s is None else round((ended_s - began_s) / DAY_S, 2)
    at = {"began_at": began_s, "ended_at": ended_s}
    return {name: None if at_s is None else instant(at_s) for name, at_s in at.items()} | {"event_days": days}


def _steps(advanced: Sequence[Message]) -> list[dict[str, Any]]:
    """Each step once: a step is published again when the clock at which it began is known."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for message in advanced:
        event = message.event
        at = instant(event.clock_s or message.envelope.time_s)
        found[event.step, event.share] = {"step": event.step, "share": event.share, "at": at}
    return list(found.values())


def _outcome(event: Any) -> str:
    if isinstance(event, RolloutCompleted):
        return "promoted" if event.promoted else "completed"
    return "rolled back" if isinstance(event, RolledBack) or event.harmful else "aborted"


def _effort(version: int, start: Message | None, ended_ms: int | None, decisions: Sequence[Message]) -> dict[str, Any]:
    """The decisions in which the version took part up to the end, and the milliseconds since the first of them."""
    began_ms = start.record.timestamp_ms if start else 0
    during = [
        m
        for m in decisions
        if m.record.timestamp_ms >= began_ms and (ended_ms is None or m.record.timestamp_ms <= ended_ms)
    ]
    took_part = [m for m in during if _has_part(m.event, version)]
    return {
        "decisions_assigned": sum(m.event.assigned == version for m in during),
        "decisions_answered": sum(_answered_by(m.event) == version for m in during),
        "decisions_scored_or_failed": len(took_part),
        "decisions_failed": sum(m.event.failure_of(version) is not None for m in during),
        "ms_to_end": ended_ms - took_part[0].record.timestamp_ms if took_part and ended_ms else None,
    }


def _has_part(decision: DecisionMade, version: int) -> bool:
    shadowed = any(score.version == version for score in decision.shadows)
    return shadowed or decision.failure_of(version) is not None or _answered_by(decision) == version


def _answered_by(decision: DecisionMade) -> int | None:
    answer = decision.answer
    return answer.score.version if isinstance(answer, Served | FellBack) else None
