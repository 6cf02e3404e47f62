"""The daily ones: up, down, status, new, apply, predict."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.status import Status

from headrace.errors import HeadraceError, Misconfigured
from headrace.events.inference import FellBack, PredictionAnswered, Scalar, Served
from headrace.events.ops import HealthReported
from headrace.policy.prediction import decision_id
from headrace_cli.applying import apply_project
from headrace_cli.client.kafka_way import KafkaWay
from headrace_cli.client.rows import Batch, Row
from headrace_cli.local import SERVICES, Local, refuse_running
from headrace_cli.render import console, say, show
from headrace_cli.scaffold import write_project
from headrace_cli.session import Session, plain, run

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_FRESH_S = 5.0
_READY_WITHIN_S = 90.0
_ANSWER_WITHIN_S = 15.0


def add_to(app: typer.Typer) -> None:
    """Put the short words on the top level."""
    for command in (up, down, status, new, apply, predict):
        app.command(command.__name__)(command)


def up(port: Annotated[int, typer.Option(help="The broker's port.")] = 19092, as_json: AsJson = False) -> None:
    """Start a local broker and all services; they are restarted when they die."""
    local = Local.here()
    refuse_running(local)
    process = local.start(port)

    async def wait() -> dict[str, Any]:
        with Status("starting broker and services", console=console, spinner="dots") if not as_json else _Quiet():
            return await local.await_started(process)

    state = asyncio.run(wait())
    rows = run(lambda session: _until_ready(session))
    ready = [row for row in rows if row["ready"]]
    line = f"up: broker {state['bootstrap_servers']}, {len(ready)} of {len(SERVICES)} services ready; logs in {local.home}/logs"
    say({"bootstrap_servers": state["bootstrap_servers"], "services": rows}, as_json=as_json, line=line)
    if not any(row["deployment"] for row in run(_deployments)):
        console.print("next: `headrace apply PROJECT` (a path, or an installed example such as `flights`)")


def down(as_json: AsJson = False) -> None:
    """End all services and the broker; the log is kept for the next `up`."""
    was_up = Local.here().stop()
    say({"was_up": was_up}, as_json=as_json, line="down; the log is kept in .headrace" if was_up else "nothing was up")


def status(as_json: AsJson = False) -> None:
    """Show services, deployments and their versions."""

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return await _services(session), await _deployments(session)

    services, deployments = run(work)
    if as_json:
        say({"services": services, "deployments": deployments}, as_json=True, line="")
        return
    columns = ["service", "instance", "ready", "shards", "behind", "handled", "dead_letters", "restarts", "reason"]
    show(services, columns, as_json=False, empty="no service reports: `headrace up`")
    console.print()
    show(
        deployments,
        ["deployment", "project", "champion", "shadows", "requests"],
        as_json=False,
        empty="no project is applied: `headrace apply PROJECT`",
    )


def new(
    name: str, folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path("."), as_json: AsJson = False
) -> None:
    """Write a project package of your own: a model, its inputs, and how to train it."""
    path = write_project(name, folder)
    line = f"written to {path}; next: read {path}/README.md, then `headrace up` and `headrace apply {path}`"
    say({"path": str(path)}, as_json=as_json, line=line)


def apply(
    project: Annotated[str, typer.Argument(help="A path, module:attribute, or an installed project.")],
    as_json: AsJson = False,
) -> None:
    """Validate a project, show what changes, and publish it."""
    changes = run(lambda session: apply_project(session, project))
    for line in [] if as_json else changes["changes"]:
        console.print(f"  {line}", highlight=False)
    say(
        changes,
        as_json=as_json,
        line=f"project {changes['project']} is applied"
        if changes["changes"]
        else f"project {changes['project']} is unchanged",
    )


def predict(
    deployment: str,
    inputs: Annotated[list[str] | None, typer.Argument(help="name=value for each input.")] = None,
    unit: Annotated[str | None, typer.Option(help="What it is about; a random one when not given.")] = None,
    at: Annotated[str | None, typer.Option(help="The instant asked for, RFC 3339; now when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a deployment, over Kafka, and show the answer."""
    answered = run(lambda session: _predict(session, deployment, inputs or [], unit, at))
    if as_json:
        say(plain(answered) | {"decision_id": decision_id(answered)}, as_json=True, line="")
        return
    console.print(_told(answered), highlight=False)


async def _predict(
    session: Session, deployment: str, pairs: list[str], unit: str | None, at: str | None
) -> PredictionAnswered:
    found = session.projects.deployment(deployment)
    if found is None:
        known = ", ".join(d.name for _, d in session.projects.deployments()) or "none"
        raise Misconfigured(f"no applied project declares {deployment!r} (declared: {known})")
    kinds = {field.name: field.kind for field in found[1].inputs}
    row = Row(dict(_input(pair, kinds) for pair in pairs), unit or f"cli-{secrets.token_hex(4)}", at)
    way = KafkaWay(session.log, session.codec, session.topics, session.projects, session.clock)
    await way.start()
    try:
        batch = Batch(f"cli-{secrets.token_hex(8)}", (row,))
        (answered,) = await way.answers(deployment, batch, None, int(_ANSWER_WITHIN_S * 1000))
    finally:
        await way.close()
    if answered is None:
        raise HeadraceError(f"no answer within {_ANSWER_WITHIN_S:.0f} s: is inference ready? `headrace status`")
    return answered


def _input(pair: str, kinds: dict[str, str]) -> tuple[str, Scalar]:
    name, is_given, value = pair.partition("=")
    if not is_given:
        raise Misconfigured(f"an input is given as name=value, got {pair!r}")
    if kinds.get(name) != "number":
        return name, value
    try:
        return name, float(value)
    except ValueError:
        raise Misconfigured(f"{name} is a number, got {value!r}") from None


def _told(decision: PredictionAnswered) -> str:
    answer = decision.answer
    match answer:
        case Served(score=score):
            who = f"version {score.version}"
        case FellBack(rung=rung, reason=reason, score=score):
            who = f"{rung} ({reason})"
        case _:
            reason = getattr(answer, "reason", "")
            return f"[bold]{type(answer).__name__.lower()}[/] {reason}"
    value = score.value if score.classes is None else list(score.classes)
    missing = f"; missing: {', '.join(decision.missing)}" if decision.missing else ""
    stale = f"; stale: {', '.join(decision.stale)}" if decision.stale else ""
    return f"[bold]{value}[/] by {who}{missing}{stale}"


async def _until_ready(session: Session) -> list[dict[str, Any]]:
    """Services once all are ready; what there is after the limit."""
    give_up_s = time.monotonic() + _READY_WITHIN_S
    with Status("waiting for services", console=console, spinner="dots") as shown:
        while True:
            rows = await _services(session)
            waiting = sorted(set(SERVICES) - {row["service"] for row in rows if row["ready"] or _only_waits(row)})
            if not waiting or time.monotonic() > give_up_s:
                return rows
            shown.update(f"waiting for {', '.join(waiting)}")
            await asyncio.sleep(0.3)


def _only_waits(row: dict[str, Any]) -> bool:
    return "no project" in row["reason"]


async def _services(session: Session) -> list[dict[str, Any]]:
    current = await session.current_of("ops.health")
    local = (Local.here().state() or {}).get("services", {})
    now_s = time.time()
    fresh = [m for m in current.values() if now_s - m.record.timestamp_ms / 1000 <= _FRESH_S and not m.event.stopping]
    return [_service_row(m.event, local.get(m.event.service, {})) for m in sorted(fresh, key=lambda m: m.event.service)]


def _service_row(report: HealthReported, local: dict[str, Any]) -> dict[str, Any]:
    return {
        "service": report.service,
        "instance": report.instance,
        "ready": report.ready,
        "reason": "; ".join([*([report.reason] if report.reason else []), *_breakers(report), *_overload(report)]),
        "breakers": report.breakers,
        "overload": report.overload,
        "shards": list(report.shards),
        "handled": report.handled_total,
        "dead_letters": report.dead_lettered_total,
        "restarts": local.get("restarts", 0),
        "versions": list(report.warmed),
        "pid": report.pid,
        "http_port": report.http_port,
        "behind": sum(report.lag.values()),
        "lag": report.lag,
    }


def _breakers(report: HealthReported) -> list[str]:
    """The versions that are not asked now, or on trial."""
    return [f"breaker of {place} {text}" for place, text in sorted(report.breakers.items())]


def _overload(report: HealthReported) -> list[str]:
    """The deployments whose load is shed, and what is left undone."""
    undone = {1: "shadows do not score", 2: "the baseline is not asked"}
    levels = sorted(report.overload.items())
    return [f"{deployment} sheds load: {undone.get(level, 'requests are refused')}" for deployment, level in levels]


async def _deployments(session: Session) -> list[dict[str, Any]]:
    routes = {key: message.event for key, message in (await session.current_of("registry.routes")).items()}
    requests = await session.log.end_offsets(await session.log.partitions(session.topics.name("inference.requests")))
    rows = []
    for project, found in session.projects.deployments():
        route = routes.get(found.name)
        rows.append(
            {
                "deployment": found.name,
                "project": project.name,
                "champion": route.champion if route else None,
                "shadows": list(route.shadows) if route else [],
                "route": plain(route) if route else None,
                "requests": sum(requests.values()),
            }
        )
    return rows


class _Quiet:
    def __enter__(self) -> "_Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        return None
