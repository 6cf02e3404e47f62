"""`headrace training request`."""

import getpass
import secrets
from typing import Annotated

import typer

from headrace.errors import Misconfigured
from headrace.events.registry import Waiver
from headrace.events.training import RetrainRequested
from headrace_cli.render import say
from headrace_cli.session import Session, run

app = typer.Typer(help="Training.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Training."""


@app.command("request")
def request(
    deployment: str,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log for ever.")],
    waive: Annotated[
        list[str] | None,
        typer.Option(help="A gate that it may fail, on your word: your name and the reason stand on its card."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a new version; the same event as an automatic request, with your name on it."""
    ident = f"manual-{secrets.token_hex(8)}"
    waivers = tuple(Waiver(gate, getpass.getuser(), reason) for gate in waive or ())

    async def work(session: Session) -> None:
        if session.projects.deployment(deployment) is None:
            known = ", ".join(found.name for _, found in session.projects.deployments()) or "none"
            raise Misconfigured(
                f"no applied project declares {deployment!r} (declared: {known}); `headrace apply PROJECT` first"
            )
        event = RetrainRequested(
            deployment, "manual", reason, getpass.getuser(), None, await _clock_s(session, deployment), waivers
        )
        await session.send("training.requests", deployment, event, ident)

    run(work)
    line = f"requested ({ident}); follow it with `headrace topic tail training.facts -f`"
    say({"request": ident, "deployment": deployment}, as_json=as_json, line=line)


async def _clock_s(session: Session, deployment: str) -> float | None:
    """The deployment's clock as the monitor last said it; None leaves the choice to the record's time."""
    windows = [
        message.event for message in await session.all_of("monitor.windows") if message.event.deployment == deployment
    ]
    return max((window.to_s for window in windows), default=None)
