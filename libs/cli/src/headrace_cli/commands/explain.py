"""`headrace explain`: why did it do that?"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from headrace.errors import Misconfigured, Poison
from headrace.evidence.causes import Cause
from headrace.evidence.explain import Explained, explain_decision
from headrace.evidence.reading import Evidence
from headrace.evidence.why_version import why_version
from headrace.log.envelope import parse_instant
from headrace_cli.evidence.opened import opened
from headrace_cli.session import Session, run
from headrace_cli.terminal.render import cell, console, harmless, instant, plain_text, put

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
    at: Annotated[
        str | None, typer.Option(help="About when it was answered, for one that is older than the index.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain why a request got its answer, or why a deployment has its current route. Reads only the log."""
    found = run(lambda session: _explained(session, deployment, request, at))
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return
    if request is not None:
        _show_decision(found)
    _show_chain(found["why_this_version"], deployment)


async def _explained(session: Session, deployment: str, request: str | None, at: str | None) -> dict[str, Any]:
    session.projects.declared(deployment)
    written_at_s = None if at is None else instant_of(at)
    async with opened(session) as evidence:
        if request is None:
            return {"why_this_version": _causes(await _why_route(evidence, deployment))}
        return as_dict(await explain_decision(evidence, deployment, request, written_at_s))


async def _why_route(evidence: Evidence, deployment: str) -> list[Cause]:
    """The causes of the present champion's traffic."""
    return await why_version(evidence, deployment, None, await evidence.route(deployment, None))


def instant_of(text: str) -> float:
    """An instant that a person typed, in seconds since the epoch. Raises `Misconfigured`."""
    try:
        return parse_instant(text)
    except Poison as poison:
        raise Misconfigured(str(poison).replace("ce_time", "--at")) from None


def as_dict(found: Explained) -> dict[str, Any]:
    """An explanation in the words of `--json`."""
    return {
        "request": found.request_id,
        "unit": found.unit,
        "at": instant(found.at_s),
        "answer": found.answer,
        "assigned_version": found.assigned,
        "failed_versions": found.failed,
        "shadows": found.shadows,
        "row": found.row,
        "missing": list(found.missing),
        "stale": list(found.stale),
        "entities": found.entities,
        "source_offsets": found.source_offsets,
        "outcome": found.outcome,
        "recovered": found.recovered,
        "record": found.place,
        "code_version": found.code_version,
        "why_this_version": _causes(found.why),
    }


def _causes(causes: Sequence[Cause]) -> list[dict[str, Any]]:
    return [{"at": instant(s.at_s), "what": s.what, "summary": s.summary, "place": s.place} for s in causes]


def _show_decision(found: dict[str, Any]) -> None:
    answer = found["answer"]
    parts = [f"{name} {_value(value)}" for name, value in answer.items() if name != "kind" and value is not None]
    console.print(Text.assemble((answer["kind"], "bold"), f"  {harmless('  '.join(parts))}"))
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
