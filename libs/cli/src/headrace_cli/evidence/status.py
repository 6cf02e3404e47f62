"""The state of an installation: a row for every service that runs or should run, and what blocks progress.

It compares two sources: the reports of instances on `ops.health`, and the supervisor's state of its processes. A
service that should run and does not has a row with the reason; a silent instance has a row with the time since its last report.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.events.ops import HealthReported, PartitionStopped
from headrace.events.registry import Route
from headrace.hosting.faults import faults_of, one_line
from headrace.hosting.stops import STOPPED, read_stops, way_on
from headrace.log.codec import Message
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace_cli.installation.children import last_line
from headrace_cli.installation.local import Local
from headrace_cli.installation.services import SERVICES
from headrace_cli.session import Session, plain

FRESH_S = 5.0
# An instance that has been silent for longer, and that no supervisor here knows, has ended.
FORGOTTEN_S = 600.0
_MOST_IGNORED = 5


async def services(session: Session, local: Local) -> list[dict[str, Any]]:
    """A row per instance that reports or should report."""
    current = await session.current_of("ops.health")
    return service_rows([*current.values()], local.state() or {}, time.time())


def service_rows(messages: Sequence[Message], state: Mapping[str, Any], now_s: float) -> list[dict[str, Any]]:
    """Rows from the newest report per instance and the supervisor's state (empty: none runs here)."""
    supervised: Mapping[str, Any] = state.get("services", {})
    rows = []
    for message in messages:
        report, silent_s = message.event, now_s - message.record.timestamp_ms / 1000
        child = _child_of(report, supervised)
        is_gone = report.stopping or silent_s > FORGOTTEN_S
        if child is None and is_gone:
            continue
        rows.append(service_row(report, child or {}, silent_s))
    reporting = {row["service"] for row in rows}
    rows += [_absent(name, child) for name, child in supervised.items() if name not in reporting]
    return sorted(rows, key=lambda row: (_order(row["service"]), row["instance"]))


def _child_of(report: HealthReported, supervised: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The process of this folder's supervisor that made a report; reports of another installation have another pid."""
    child = supervised.get(report.service)
    is_ours = child is not None and report.instance == f"{report.service}-1"
    return child if is_ours else None


def _order(service: str) -> int:
    return SERVICES.index(service) if service in SERVICES else len(SERVICES)


def _absent(name: str, child: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a service that should run and has not reported yet."""
    report = HealthReported(name, f"{name}-1", False, pid=child.get("pid") or 0, http_port=child.get("http_port", 0))
    return service_row(report, child, None)


def service_row(report: HealthReported, child: Mapping[str, Any], silent_s: float | None = 0.0) -> dict[str, Any]:
    """The row of one instance. `child`: the supervisor's state of it; `silent_s`: since its last report, None if there is none yet."""
    pid = child.get("pid", report.pid) if child else report.pid
    is_stale = silent_s is None or silent_s > FRESH_S or (bool(child) and pid != report.pid) or report.stopping
    reasons = _why_absent(report, child, pid, silent_s) if is_stale else _reasons(report)
    return {
        "service": report.service,
        "instance": report.instance,
        "ready": report.ready and not is_stale,
        "reason": "; ".join(reasons),
        "breakers": report.breakers,
        "overload": report.overload,
        "degraded": report.degraded,
        "shards": list(report.shards) if not is_stale else [],
        "handled": report.handled_total,
        "late": _late(report),
        "dead_letters": report.dead_lettered_total,
        "restarts": child.get("restarts", 0),
        "last_end": _last_end(child),
        "versions": list(report.warmed),
        "pid": pid,
        "http_port": report.http_port or child.get("http_port", 0),
        "log": child.get("log", ""),
        "behind": sum(report.lag.values()),
        "lag": report.lag,
        "state_bytes": report.state_bytes,
        "state_limits": report.state_limits,
    }


def _late(report: HealthReported) -> int:
    """How many records came too late to count: events of sources; for the monitor, what is of closed windows."""
    counts = [getattr(report, name, {}) for name in ("late", "late_requests", "late_outcomes", "late_corrections")]
    return sum(sum(found.values()) for found in counts)


def _why_absent(report: HealthReported, child: Mapping[str, Any], pid: int | None, silent_s: float | None) -> list[str]:
    if child and pid is None:
        reason, last = child.get("reason") or "not started yet", last_line(_path(child))
        return [
            f"not running: {reason}",
            *([f"last log line: {one_line(last)}"] if last and last not in reason else []),
        ]
    if silent_s is None or (child and pid != report.pid) or (child and report.stopping):
        return ["starting"]
    return [f"silent for {silent_s:.0f} s"]


def _path(child: Mapping[str, Any]) -> Path:
    return Path(child.get("log", ""))


def _last_end(child: Mapping[str, Any]) -> str:
    return f"{child['reason']} at {child['at']}" if child.get("reason") else ""


def _reasons(report: HealthReported) -> list[str]:
    """Why it is not ready, and faults that do not prevent readiness."""
    return [
        *_not_ready(report),
        *([one_line(f"queued for loading: {', '.join(report.in_line)}")] if report.in_line else []),
        *faults_of(report),
    ]


def _not_ready(report: HealthReported) -> list[str]:
    """If only partitions are stopped, just their names: `held_back` lists each with the reason and the way out."""
    places = [what.removeprefix(STOPPED) for what in report.failing if what.startswith(STOPPED)]
    if places and len(places) == len(report.failing):
        return [f"{place} is stopped" for place in places]
    return [one_line(report.reason)] if report.reason else []


def local_rows(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows from the supervisor alone, while no broker answers; no service is known to be ready."""
    rows = [_absent(name, child) for name, child in state.get("services", {}).items()]
    for row in rows:
        if row["pid"]:
            row["reason"] = "its report cannot be read: the broker does not answer"
    return rows


def broker_line(state: Mapping[str, Any]) -> str:
    """The broker and the disk of this folder's supervisor, in one line; empty if there is nothing to report."""
    broker, disk = state.get("broker") or {}, state.get("disk") or {}
    parts = []
    if broker.get("reason") or not broker.get("pid", True):
        count = f", {broker['restarts']} restarts" if broker.get("restarts") else ""
        parts.append(
            f"broker: {'runs' if broker.get('pid') else 'does not run'}{count}; last: {broker.get('reason') or '-'} {broker.get('at', '')}".rstrip()
        )
    if disk.get("is_almost_full"):
        parts.append(disk["text"])
    return "; ".join(parts)


async def deployments(session: Session, rows: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """A row per applied deployment; `rows`: of the services, which report degraded deployments."""
    routes = {key: message.event for key, message in (await session.current_of("registry.routes")).items()}
    degraded: dict[str, str] = {}
    for row in rows:
        degraded |= row["degraded"] if row["ready"] or row["reason"] else {}
    found = []
    for project, deployment in session.projects.deployments():
        route = routes.get(deployment.name)
        found.append(
            {
                "deployment": deployment.name,
                "project": project.name,
                "champion": route.champion if route else None,
                "shadows": list(route.shadows) if route else [],
                "degraded": "; ".join(_degraded(route, degraded.get(deployment.name, ""))),
                "route": plain(route) if route else None,
            }
        )
    return found


def _degraded(route: Route | None, reason: str) -> list[str]:
    """Why a deployment is not answered by the version of its route: the reports of instances, and the versions that are skipped."""
    over = [found for found in route.passed_over if found.version == route.champion] if route else []
    return [*([one_line(reason)] if reason else []), *(one_line(found.reason) for found in over)]


async def held_back(session: Session) -> list[str]:
    """What blocks progress, one line each: ignored definitions, stopped partitions, and open transactions on users' topics."""
    return [*ignored(session.projects.refused), *await _stopped(session), *await _open_transactions(session)]


def ignored(refused: Mapping[str, str]) -> list[str]:
    """The definitions that every service ignores, and why.

    >>> ignored({"thief": "deployment bin belongs to project flights"})
    ['the definition of project thief is ignored: deployment bin belongs to project flights']
    """
    lines = [f"the definition of project {one_line(name)} is ignored: {one_line(why)}" for name, why in refused.items()]
    more = len(lines) - _MOST_IGNORED
    return lines if more <= 0 else [*lines[:_MOST_IGNORED], f"{more} more definitions are ignored"]


async def _stopped(session: Session) -> list[str]:
    if session.topics.name("ops.stops") not in await session.log.list_topics():
        return []
    stops = await read_stops(session.log, session.codec, session.topics)
    return [stopped_line(session.topics, stop) for stop in stops.values()]


def stopped_line(topics: Topics, stop: PartitionStopped) -> str:
    """A stopped partition in one line: service, place, reason, and the way out, which is never shortened."""
    topic = topics.base(stop.topic)
    where = f"{stop.service} has stopped reading {topic}/{stop.partition} at offset {stop.offset}"
    return f"{where}: {one_line(stop.reason)}; {way_on(topic)}"


async def _open_transactions(session: Session) -> list[str]:
    """Partitions whose stable end lies before the real end, and is the same in two reads. Our own transactions end within a second."""
    topics = session.topics
    names = [topics.name(base) for base in ("inference.requests", "inference.outcomes", "training.requests")]
    names += [topics.of_source(source.name) for source in session.projects.sources]
    names += [topics.of_raw(raw.name) for project in session.projects.definitions for raw in project.raw]
    there = set(await session.log.list_topics())
    partitions = [tp for name in names if name in there for tp in await session.log.partitions(name)]
    reader = await session.log.reader(partitions, "end")
    try:
        stable, ends = await reader.end_offsets(), await session.log.end_offsets(partitions)
        again = await reader.end_offsets()
    finally:
        await reader.close()
    return [_open_transaction_line(tp, stable[tp], ends[tp]) for tp in partitions if stable[tp] == again[tp] < ends[tp]]


def _open_transaction_line(tp: TopicPartition, stable: int, end: int) -> str:
    return (
        f"an open transaction on {tp.topic}/{tp.partition} holds back {end - stable} records from offset {stable} on:"
        " its producer has not ended it (the embedded broker aborts it after 60 s)"
    )
