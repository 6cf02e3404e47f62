"""The daily commands: up, down, status, new, check, apply, predict."""

import asyncio
import contextlib
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.status import Status

from headrace.asking.prediction import Prediction, decision_id
from headrace.errors import HeadraceError, Misconfigured, Retryable
from headrace.events.definition import digest_of
from headrace.events.inference import PredictionAnswered, Scalar
from headrace.hosting.settings import Settings
from headrace_cli.evidence.status import broker_line, deployments, held_back, local_rows, services
from headrace_cli.installation.children import RESTART_AT_ONCE, last_line
from headrace_cli.installation.local import Local
from headrace_cli.installation.services import console_address, processes_of
from headrace_cli.scaffold import write_project
from headrace_cli.session import Session, plain, run, session
from headrace_cli.terminal.render import console, harmless, show, show_result
from headrace_cli.terminal.waiting import REPORT_EVERY_S, Patience, Workers

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CONNECT_WITHIN_S = 60.0
# How often a service may end during `up` before the command stops waiting for it.
_LOOPS = 3
_ANSWER_WITHIN_S = 15.0
_CLASSES_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add these commands to the top level."""
    for command in (up, down, status, new, check, apply, predict):
        app.command(command.__name__)(command)


def up(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The broker's port.")] = 19092,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the log of this installation first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a local broker and all services; they are restarted when they end or hang."""
    local = Local.here()
    process = local.start(port, fresh=fresh, anywhere=False)
    try:
        state, rows, ended = asyncio.run(_started(local, process, quiet=as_json))
    except SystemExit:
        print(
            f"the start continues in the background: `headrace status` shows it, `headrace down` ends it; logs in {local.home}/logs",
            file=sys.stderr,
        )
        raise
    ready = [row for row in rows if row["ready"]]
    line = f"up: broker {state['bootstrap_servers']}, {len(ready)} of {len(processes_of(Settings.load()))} services ready; logs in {local.home}/logs"
    address = console_address(Settings.load(), state)
    result = {"bootstrap_servers": state["bootstrap_servers"], "console": address, "services": rows}
    show_result(result, as_json=as_json, line=f"{line}\nconsole {address}" if address else line)
    if len(ready) < len(processes_of(Settings.load())):
        waiting = [row for row in rows if not row["ready"]]
        reasons = "".join(f"\n  {_why_not(row)}" for row in waiting)
        raise HeadraceError(
            f"{len(ready)} of {len(processes_of(Settings.load()))} services are ready ({ended}; `headrace down` ends all){reasons}"
        )
    if not as_json and not any(row["deployment"] for row in run(deployments)):
        console.print("next: `headrace apply PROJECT` (a path, or an installed example such as `flights`)")


def down(as_json: AsJson = False) -> None:
    """End all services and the broker; the log is kept for the next `up`."""
    local = Local.here()
    was_up = local.stop()
    show_result(
        {"was_up": was_up},
        as_json=as_json,
        line=f"down; the log is kept in {local.home}" if was_up else "nothing was running",
    )


def status(as_json: AsJson = False) -> None:
    """Show services, deployments and their versions."""
    local = Local.here()
    state = local.state() or {}

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
        rows = await services(session, local)
        return rows, await deployments(session, rows), await held_back(session)

    try:
        rows, deployed, held = run(work)
    except Retryable as error:
        if not state.get("services"):
            raise
        rows, deployed, held = local_rows(state), [], [str(error)]
    held = [*filter(None, [local.why_unattended()]), *held]
    if as_json:
        show_result(
            {"services": rows, "deployments": deployed, "held_back": held, "broker": state.get("broker")},
            as_json=True,
            line="",
        )
        return
    _show_status(rows, deployed, [line for line in [broker_line(state), *held] if line])


def _show_status(rows: list[dict[str, Any]], deployed: list[dict[str, Any]], lines: list[str]) -> None:
    columns = ["service", "ready", "shards", "behind", "handled", "late", "dead", "restarts", "pid", "http"]
    if len({row["service"] for row in rows}) < len(rows):
        columns.insert(1, "instance")
    shown = [
        row | {"ready": "yes" if row["ready"] else "no", "dead": row["dead_letters"], "http": row["http_port"] or None}
        for row in rows
    ]
    show(shown, columns, as_json=False, empty="no service reports: `headrace up`")
    for row in rows:
        more = [row["reason"]] if row["reason"] else []
        if row["last_end"]:
            more.append(f"last end: {row['last_end']}")
        if more and row["log"]:
            more.append(f"log {row['log']}")
        if more:
            _line(f"  {row['service']}: {'; '.join(more)}")
    for line in lines:
        _line(f"! {line}")
    console.print()
    columns = ["deployment", "project", "champion", "shadows", "degraded"]
    show(deployed, columns, as_json=False, empty="no project is applied: `headrace apply PROJECT`")


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)


def new(
    name: str, folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path("."), as_json: AsJson = False
) -> None:
    """Write a new project package: a model, its inputs, and how to train it."""
    path = write_project(name, folder)
    line = f"written to {path}; next: read {path}/README.md, then `headrace up` and `headrace apply {path}`"
    show_result({"path": str(path)}, as_json=as_json, line=line)


def apply(
    project: Annotated[str, typer.Argument(help="A path, module:attribute, or an installed project.")],
    as_json: AsJson = False,
) -> None:
    """Validate a project, show what changes and what each deployment will do, and publish it."""
    from headrace_cli.projects.apply import apply_project  # late, as all that only one command needs

    changes = run(lambda session: apply_project(session, project))
    for line in [] if as_json else changes["changes"]:
        _line(f"  {line}")
    if not as_json and changes["changes"]:
        _show_outlook(changes["deployments"])
    show_result(
        changes,
        as_json=as_json,
        line=f"project {changes['project']} is applied"
        if changes["changes"]
        else f"project {changes['project']} is unchanged",
    )


def check(
    project: Annotated[str, typer.Argument(help="A path, module:attribute, or an installed project.")],
    as_json: AsJson = False,
) -> None:
    """Validate a project and show what each deployment would do, without a broker; nothing is published."""
    from headrace_cli.projects.apply import check_project

    checked = check_project(project)
    outlook = checked.outlook()
    if not as_json:
        _show_outlook(outlook)
    show_result(
        {"project": checked.definition.name, "digest": digest_of(checked.definition), "deployments": outlook},
        as_json=as_json,
        line=f"project {checked.definition.name} can be applied",
    )


def _show_outlook(deployments: list[dict[str, Any]]) -> None:
    """A block per deployment."""
    for found in deployments:
        _line(f"deployment {found['deployment']}")
        for line in found["plan"]:
            _line(f"  {line['part']:<9} {line['text']}")
        for late in found["warnings"]:
            _line(f"  note      {late}")


def predict(
    deployment: str,
    inputs: Annotated[list[str] | None, typer.Argument(help="name=value for each input.")] = None,
    unit: Annotated[str | None, typer.Option(help="What the request is about; a random one by default.")] = None,
    at: Annotated[str | None, typer.Option(help="The instant of the request, RFC 3339; now by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a deployment over Kafka, and show the answer. The exit code is 2 if the request is invalid, 1 if it was not answered."""
    answered, prediction = run(lambda session: _predict(session, deployment, inputs or [], unit, at))
    if as_json:
        named = {"label": prediction.label, "probabilities": prediction.probabilities} if prediction.is_answered else {}
        show_result(plain(answered) | {"decision_id": decision_id(answered)} | named, as_json=True, line="")
    if not prediction.is_answered:
        raise unanswered(prediction)
    if not as_json:
        console.print(harmless(prediction_line(prediction)), highlight=False, soft_wrap=True)


async def _predict(
    session: Session, deployment: str, pairs: list[str], unit: str | None, at: str | None
) -> tuple[PredictionAnswered, Prediction]:
    from headrace_cli.client.kafka_transport import KafkaTransport
    from headrace_cli.client.rows import Batch, Row

    found = session.projects.declared(deployment)
    kinds = {field.name: field.kind for field in found[1].inputs}
    row = Row(dict(_input(pair, kinds) for pair in pairs), unit or f"cli-{secrets.token_hex(4)}", at)
    transport = KafkaTransport(session.log, session.codec, session.topics, session.projects, session.clock)
    await transport.start()
    try:
        batch = Batch(f"cli-{secrets.token_hex(8)}", (row,))
        (answered,) = await transport.answers(deployment, batch, None, int(_ANSWER_WITHIN_S * 1000))
        if answered is None:
            raise HeadraceError(f"no answer within {_ANSWER_WITHIN_S:.0f} s: is inference ready? `headrace status`")
        return answered, transport.prediction(found[1], answered)
    finally:
        await transport.close()


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


def prediction_line(found: Prediction) -> str:
    """A prediction in one line: the class by its name, its probability, and which version or step gave it."""
    by = f"version {found.version}" if found.outcome == "served" else f"{found.step} ({escape(found.reason)})"
    missing = f"; missing: {', '.join(found.missing)}" if found.missing else ""
    stale = f"; stale: {', '.join(found.stale)}" if found.stale else ""
    return f"{_answer_text(found)} by {by}{escape(missing + stale)}"


def unanswered(found: Prediction) -> HeadraceError:
    """Why there is no prediction: an invalid request, or a failure after which a repeat may succeed."""
    if found.outcome == "invalid":
        return Misconfigured(f"the request is invalid: {found.reason}")
    again = "" if found.retry_after_s is None else f" in {found.retry_after_s:g} s"
    return HeadraceError(f"the request was not answered ({found.outcome}): {found.reason}; ask again{again}")


def _answer_text(found: Prediction) -> str:
    if found.probabilities:
        shown = sorted(found.probabilities.items(), key=lambda one: -one[1])[:_CLASSES_SHOWN]
        return f"[bold]{escape(str(found.label))}[/] ({escape(', '.join(f'{name} {one:.4g}' for name, one in shown))})"
    if isinstance(found.label, str):
        value = found.value or 0.0
        return f"[bold]{escape(found.label)}[/] (probability {max(value, 1 - value):.4g})"
    return f"[bold]{found.value}[/]"


async def _started(
    local: Local, process: subprocess.Popen[bytes], *, quiet: bool
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Wait until all services are ready, or some of them will not be. Returns the supervisor's state, the rows, and why the wait ended."""
    with contextlib.nullcontext() if quiet else Status("starting", console=console, spinner="dots") as shown:
        progress = _StartProgress(shown)
        state = await local.await_started(process, progress.now)
        async with session(_CONNECT_WITHIN_S) as opened:
            return state, *await _until_ready(opened, local, progress)


async def _until_ready(opened: Session, local: Local, progress: "_StartProgress") -> tuple[list[dict[str, Any]], str]:
    """Wait as long as something progresses; a service that ends repeatedly is not waited for."""
    patience, workers = Patience(), Workers(local.pids)
    while True:
        state, rows = local.state(), await services(opened, local)
        if state is None or state["error"]:
            raise HeadraceError(f"the supervisor has ended: see {local.home / 'supervisor.log'}")
        waiting = [row for row in rows if not row["ready"]]
        if not waiting and len(rows) >= len(processes_of(Settings.load())):
            return rows, ""
        looping = {name for name, child in state["services"].items() if _is_looping(child)}
        if waiting and all(row["service"] in looping for row in waiting):
            return rows, "the others end repeatedly"
        what = ", ".join(_named(row) for row in waiting) or "the first reports"
        if not patience.note(what, is_busy=workers.are_busy()):
            return rows, f"nothing has progressed for {patience.quiet_s:.0f} s"
        progress.now(what)
        await asyncio.sleep(0.3)


def _named(row: dict[str, Any]) -> str:
    return row["service"] if row["reason"] in ("", "starting") else f"{row['service']} ({row['reason']})"


def _why_not(row: dict[str, Any]) -> str:
    """Why a service did not become ready."""
    # NB: if it does not run, the reason contains this line already.
    last = last_line(Path(row["log"])) if row["last_end"] and row["pid"] is not None else ""
    ended = f"{row['last_end']}, {row['restarts']} restarts" if row["last_end"] else ""
    parts = (row["reason"] or "not ready", ended, f"last log line: {last}" if last else "", f"log {row['log']}")
    return f"{row['service']}: {'; '.join(filter(None, parts))}"


def _is_looping(child: dict[str, Any]) -> bool:
    return child["restarts"] >= _LOOPS and child["last_code"] not in (0, RESTART_AT_ONCE)


class _StartProgress:
    """The progress of a start: in the spinner at once, and as a line every fifteen seconds."""

    def __init__(self, shown: Status | None) -> None:
        self._shown = shown
        self._began_s = self._printed_s = time.monotonic()

    def now(self, what: str) -> None:
        """Show the current step."""
        if self._shown is None:
            return
        now_s = time.monotonic()
        self._shown.update(f"{what}, {now_s - self._began_s:.0f} s")
        if now_s - self._printed_s >= REPORT_EVERY_S:
            self._printed_s = now_s
            _line(f"still starting: {what}, {now_s - self._began_s:.0f} s; Ctrl-C leaves it running")
