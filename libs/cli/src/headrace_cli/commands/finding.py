"""`headrace finding list|show`."""

import json
from typing import Annotated

import typer

from headrace.errors import Misconfigured
from headrace.evidence.findings import Finding
from headrace_cli.commands.deployment import read_findings
from headrace_cli.evidence.history import finding_row, show_finding
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.render import show

app = typer.Typer(help="Findings: what the monitor found wrong, and what became of it.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Findings."""


@app.command("list")
def list_findings(
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Include resolved findings.")] = False,
    as_json: AsJson = False,
) -> None:
    """List open findings: what is wrong, and since when by event time."""

    async def work(session: Session) -> list[Finding]:
        findings = await read_findings(session)
        if deployment is not None and not findings.of(deployment, only_open=False):
            session.projects.declared(deployment)
        return findings.of(deployment, only_open=not all_of_them)

    found = run(work)
    if as_json:
        return print(json.dumps(plain(found), indent=2))
    columns = ["finding", "deployment", "kind", "since", "found", *(["resolved"] if all_of_them else []), "summary"]
    return show(list(map(finding_row, found)), columns, as_json=False, empty="no finding is open")


@app.command("show")
def show_one(
    finding: Annotated[str, typer.Argument(metavar="ID", help="As shown by `finding list`, or its beginning.")],
    as_json: AsJson = False,
) -> None:
    """Show one finding: what moved, the windows before and after, what was requested because of it, and its end."""

    async def work(session: Session) -> Finding | None:
        return (await read_findings(session)).get(finding)

    found = run(work)
    if found is None:
        raise Misconfigured(f"there is no finding {finding!r}, or several begin so: `headrace finding list --all`")
    if as_json:
        return print(json.dumps(plain(found), indent=2))
    return show_finding(found)
