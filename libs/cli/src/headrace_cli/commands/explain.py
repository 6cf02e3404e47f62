"""`headrace explain`: why did it do that?"""

import json
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from headrace.errors import Misconfigured
from headrace_cli.evidence.explain import chain_of_route, explain_decision
from headrace_cli.session import Session, run
from headrace_cli.terminal.render import cell, console, harmless, plain_text, put

_ABOUT = (
    "request", "unit", "at", "assigned_version", "failed_versions", "shadows", "missing", "stale", "outcome", "recovered",
    "source_offsets", "record",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add `explain` to the top level."""
    app.command("explain")(explain)


def explain(
    deployment: str,
    request: Annotated[
        str | None, typer.Argument(help="A request's id or unit; by default the route is explained.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score the logged row once more, and compare.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain why a request got its answer, or why a deployment has its current route. Reads only the log."""

    async def work(session: Session) -> dict[str, Any]:
        if session.projects.deployment(deployment) is None:
            known = ", ".join(found.name for _, found in session.projects.deployments()) or "none"
            raise Misconfigured(f"no applied project declares {deployment!r} (declared: {known})")
        if request is not None:
            return await explain_decision(session, deployment, request, again=again)
        return {"why_this_version": await chain_of_route(session, deployment)}

    found = run(work)
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return
    if request is not None:
        _show_decision(found)
    _show_chain(found["why_this_version"], deployment)


def _show_decision(found: dict[str, Any]) -> None:
    answer = found["answer"]
    parts = [f"{name} {_value(value)}" for name, value in answer.items() if name != "kind" and value is not None]
    console.print(Text.assemble((answer["kind"], "bold"), f"  {harmless('  '.join(parts))}"))
    if again := found.get("made_again"):
        console.print(plain_text("made again: " + "  ".join(f"{name} {value}" for name, value in again.items())))
    about = Table(box=None, pad_edge=False, show_header=False)
    for name in _ABOUT:
        value = found[name]
        about.add_row(
            name.replace("_", " "),
            plain_text([f"{k}: {cell(v)}" for k, v in value.items()] if isinstance(value, dict) else value),
        )
    console.print(about)
    row = Table(box=None, pad_edge=False, show_header=False)
    for name, value in found["row"].items():
        row.add_row(plain_text(name), plain_text(value))
    put(row, "\nthe row that it was answered from")


def _value(value: Any) -> str:
    """One value of an answer; of several probabilities each with the name of its class."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {probability:.4g}" for name, probability in value.items())
    return cell(value)


def _show_chain(steps: list[dict[str, Any]], deployment: str) -> None:
    if not steps:
        console.print(plain_text(f"no route yet: {deployment} has no version, the fallback chain's prior answers"))
        return
    chain = Table(box=None, pad_edge=False, show_header=False)
    for step in steps:
        chain.add_row(
            plain_text(step["at"]), plain_text(step["what"]), plain_text(step["summary"]), Text(step["place"], "dim")
        )
    put(chain, "\nwhy this version, newest first")
