"""`headrace decision remake`: makes committed decisions again and compares."""

import json
import os
from collections import Counter
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.errors import Misconfigured
from headrace.evidence import picking
from headrace.evidence.reading import Evidence
from headrace.evidence.remade import Remade
from headrace.log.codec import Message
from headrace_cli.commands.explain import instant_of
from headrace_cli.evidence.opened import Spoken, opened
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import INT32, MOST_SHOWN
from headrace_cli.terminal.render import console, plain_text, put

app = typer.Typer(help="Committed decisions: made again from the log.", no_args_is_help=True)
_SHOWN = 20
_PARTS = ("route", "step", "row", "score")


@app.callback()
def _group() -> None:
    """NB: with one command typer would drop its name."""


@app.command("remake")
def remake(
    ids: Annotated[list[str] | None, typer.Argument(help="Request ids.")] = None,
    last: Annotated[int | None, typer.Option(min=1, max=MOST_SHOWN, help="The newest decisions instead.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, max=MOST_SHOWN, help="Random decisions instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=INT32, help="Of the random choice.")] = 1,
    deployment: Annotated[str | None, typer.Option(help="Only decisions of this deployment.")] = None,
    at: Annotated[
        str | None, typer.Option(help="About when they were answered, for ids that are older than the index.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make decisions again: route, fallback step, feature row and score, from the log alone. Exit code 1 if any differs."""
    # NB: before a library of models starts its threads. They are imported late: no other command needs them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from headrace.evidence.remaking import remade

    if bool(ids) + bool(last) + bool(sample) != 1:
        raise Misconfigured("name request ids, or give --last N, or --sample N")
    if at is not None and not ids:
        raise Misconfigured("--at says when request ids were answered: name them")
    at_s = None if at is None else instant_of(at)

    async def work(session: Session) -> list[Remade]:
        async with opened(session) as evidence:
            picked = await _picked(evidence, ids or [], last, sample, seed, deployment, at_s)
            return await remade(evidence, picked, Spoken())

    found = run(work)
    if as_json:
        print(json.dumps({"summary": summary(found), "decisions": [_row(one) for one in found]}, indent=2))
    else:
        _show(found)
    if any(one.result == "differs" for one in found):
        raise typer.Exit(1)


async def _picked(
    evidence: Evidence,
    ids: list[str],
    last: int | None,
    sample: int | None,
    seed: int,
    deployment: str | None,
    at_s: float | None,
) -> list[Message]:
    """The decisions that are meant, at least one. Raises `Misconfigured`."""
    if ids:
        return await picking.by_ids(evidence, ids, deployment, at_s)
    if last:
        found = await picking.last(evidence, last, deployment)
    else:
        found = await picking.sample(evidence, sample or 0, seed, deployment)
    if not found and deployment is not None:
        evidence.projects.declared(deployment)
    if not found:
        of = f" of {deployment}" if deployment else ""
        raise Misconfigured(f"no decision{of} was found on the log: `headrace topic tail inference.decisions`")
    return found


def summary(found: list[Remade]) -> dict[str, Any]:
    """How many decisions, and parts of them, are the same, and why others are not.

    >>> summary([])["decisions"]
    0
    """
    return {
        "decisions": len(found),
        **{result: sum(one.result == result for one in found) for result in ("same", "differs", "unknown")},
        "parts": {name: dict(Counter(one.parts[name].result for one in found)) for name in _PARTS},
        "unknown_because": dict(
            Counter(part.detail for one in found for part in one.parts.values() if part.result == "unknown")
        ),
    }


def _row(one: Remade) -> dict[str, Any]:
    return plain(one) | {"result": one.result}


def _show(found: list[Remade]) -> None:
    counts = summary(found)
    table = Table(box=None, pad_edge=False)
    for column in ("part", "same", "within 1e-6", "differs", "cannot be made again"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name in _PARTS:
        results = counts["parts"][name]
        table.add_row(name, *(str(results.get(kind, 0)) for kind in ("same", "near", "differs", "unknown")))
    console.print(table)
    odd = [one for one in found if one.result != "same"]
    if odd and (len(found) <= _SHOWN or any(one.result == "differs" for one in odd)):
        odd.sort(key=lambda one: one.result != "differs")
        listed = Table(box=None, pad_edge=False, show_header=False)
        for one in odd[:_SHOWN]:
            listed.add_row(plain_text(one.request_id), plain_text(one.place), one.result, plain_text(one.why))
        put(listed, "\nnot the same")
    if by_prior := sum(one.is_by_prior for one in found):
        console.print(f"{by_prior:,} answered by the prior: its value is compared with the step, there is no score")
    for why, count in counts["unknown_because"].items():
        console.print(plain_text(f"{count:,} cannot be made again: {why}"))
    console.print(
        plain_text(
            f"{counts['same']:,} of {counts['decisions']:,} decisions are the same, {counts['differs']:,} differ,"
            f" {counts['unknown']:,} cannot be made again"
        )
    )
