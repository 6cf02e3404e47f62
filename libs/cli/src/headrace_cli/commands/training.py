"""`headrace training request|list|stop`."""

import getpass
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.errors import Misconfigured
from headrace.events.registry import Waiver
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished, TrainingProgressed
from headrace.hosting.runs import RunFolder, runs_folder
from headrace.log.codec import Message
from headrace.registry.waivers import refuse_waivers
from headrace_cli.installation.local import Local, settings_here
from headrace_cli.projects.expectations import closed_windows
from headrace_cli.session import Session, run
from headrace_cli.terminal.numbers import MOST_SHOWN
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import show, show_result

app = typer.Typer(help="Training runs: request, list and stop them.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Training runs."""


@app.command("request")
def request(
    deployment: str,
    reason: Reason,
    waive: Annotated[
        list[str] | None,
        typer.Option(help="A gate that it may fail on your responsibility: your name and the reason are on its card."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Request a new version: the same event as an automatic request, with your name on it."""
    ident = f"manual-{secrets.token_hex(8)}"
    waivers = tuple(Waiver(gate, getpass.getuser(), reason) for gate in waive or ())

    async def work(session: Session) -> None:
        refuse(session, deployment, waive or ())
        event = RetrainRequested(
            deployment, "manual", reason, getpass.getuser(), None, await _clock_s(session, deployment), waivers
        )
        await session.send("training.requests", deployment, event, ident)

    run(work)
    line = f"requested ({ident}); `headrace training list` shows its progress"
    show_result({"request": ident, "deployment": deployment}, as_json=as_json, line=line)


def refuse(session: Session, deployment: str, waived: Sequence[str]) -> None:
    """Raise `Misconfigured` for a request that the trainer would refuse or ignore, by the applied projects."""
    found = session.projects.deployment(deployment)
    if found is None:
        known = ", ".join(found.name for _, found in session.projects.deployments()) or "none"
        raise Misconfigured(
            f"no applied project declares {deployment!r} (declared: {known}); `headrace apply PROJECT` first"
        )
    if found[1].training is None:
        raise Misconfigured(
            f"{deployment} declares no training: add training=Training(build) and apply it again, or register a model that you have"
            " fitted (`headrace model register`)"
        )
    if (of_no_gate := refuse_waivers(found[1], waived)) is not None:
        raise Misconfigured(of_no_gate)


@dataclass
class _Run:
    """A run, as its facts describe it."""

    accepted: RetrainAccepted
    stage: str = "waits"
    share: float = 0.0
    detail: str = ""


@app.command("list")
def list_runs(
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show training runs: the progress of each, or how it ended; for runs on this machine also the process and the log."""

    async def work(session: Session) -> list[dict[str, Any]]:
        found = runs_of(await session.all_of("training.facts"))
        wanted = [one for one in found if deployment in (None, one.accepted.deployment)]
        if deployment is not None and not wanted:
            session.projects.declared(deployment)
        return [_row(one) for one in reversed(wanted[-limit:])]

    columns = ["run", "deployment", "cause", "stage", "share", "detail", "pid", "log"]
    show(run(work), columns, as_json=as_json, empty="no training run yet")


@app.command("stop")
def stop(run_id: Annotated[str, typer.Argument(metavar="RUN", help="As shown by `training list`.")]) -> None:
    """End a run of this machine permanently; it is recorded as failed, with your name."""
    folder = _folder_of(run_id)
    if folder is None:
        raise Misconfigured(f"there is no run {run_id!r} on this machine: `headrace training list` shows them")
    if (ended := _end_of(folder)) is not None:
        raise Misconfigured(f"run {run_id} has ended already: {ended.outcome}")
    folder.ask_to_stop(getpass.getuser())
    show_result({"run": run_id, "stopped": True}, as_json=False, line=f"run {run_id} is being stopped")


def runs_of(facts: Iterable[Message]) -> list[_Run]:
    """The runs in these facts, the oldest first."""
    found: dict[str, _Run] = {}
    for message in facts:
        match message.event:
            case RetrainAccepted() as accepted:
                found[accepted.run] = _Run(accepted)
            case TrainingProgressed(run=name, stage=stage, share=share, detail=detail) if name in found:
                found[name] = _Run(found[name].accepted, stage, share, detail)
            case TrainingFinished(run=name, outcome=outcome, reason=reason) if name in found:
                found[name] = _Run(found[name].accepted, outcome, 1.0, reason)
    return list(found.values())


def _row(found: _Run) -> dict[str, Any]:
    accepted, folder = found.accepted, _folder_of(found.accepted.run)
    row = {
        "run": accepted.run,
        "deployment": accepted.deployment,
        "cause": accepted.cause,
        "stage": found.stage,
        "share": round(found.share, 2),
        "detail": found.detail,
        "pid": None,
        "log": None,
    }
    if folder is None:
        return row
    row["log"] = str(folder.log) if folder.log.exists() else None
    if folder.holder() is not None:
        # The current progress, which is too short-lived for a fact.
        now = folder.progress()
        row |= {"pid": now.pid or None, "stage": now.stage, "share": round(now.share, 2), "detail": now.detail}
    return row


def _end_of(folder: RunFolder) -> TrainingFinished | None:
    """How a run ended, None while it runs."""
    return next((entry for entry in folder.read()[0] if isinstance(entry, TrainingFinished)), None)


def _folder_of(run_id: str) -> RunFolder | None:
    """The folder of a run on this machine, None when there is none."""
    settings = settings_here()
    places: list[Path] = [Local.here().home / "runs" / (settings.namespace or "default"), runs_folder(settings)]
    found = [place / run_id for place in places if run_id.isalnum() and (place / run_id / "order").exists()]
    return RunFolder(found[0]) if found else None


async def _clock_s(session: Session, deployment: str) -> float | None:
    """The deployment's clock as the monitor last published it; None means the record's own time."""
    windows = [window for window in await closed_windows(session) if window.deployment == deployment]
    return max((window.to_s for window in windows), default=None)
