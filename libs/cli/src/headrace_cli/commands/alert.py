"""`headrace alert list`."""

from typing import Annotated

import typer

from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.render import show

app = typer.Typer(help="Alerts: which ones fire, and what to do about them.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Alerts."""


@app.command("list")
def list_alerts(
    all_of_them: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    as_json: AsJson = False,
) -> None:
    """List firing alerts, each with a command to investigate it."""

    async def work(session: Session) -> list[dict]:
        current = await session.current_of("alerts")
        alerts = [message.event for message in current.values()]
        return [_row(alert) for alert in alerts if all_of_them or alert.status == "firing"]

    columns = ["severity", "alert", "about", "since", "summary", "command", "runbook"]
    columns = ["status", *columns] if all_of_them else columns
    show(run(work), columns, as_json=as_json, empty="no alert is firing")


def _row(alert) -> dict:
    about = {name: value for name, value in alert.labels.items() if name not in ("alertname", "severity")}
    return {
        "status": alert.status,
        "alert": alert.labels["alertname"],
        "severity": alert.labels["severity"],
        "about": " ".join(f"{name}={value}" for name, value in about.items()),
        "since": alert.starts_at,
        "summary": alert.annotations["summary"],
        "command": alert.annotations["command"],
        "runbook": alert.annotations["runbook_url"],
        "payload": plain(alert),
    }
