"""`headrace model recall`: every decision by a bad version, decided again with another one."""

import csv
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import typer

from headrace.errors import Misconfigured
from headrace.evidence.recalled import Recalled, Summary
from headrace_cli.evidence.opened import Spoken, opened
from headrace_cli.session import Session, run
from headrace_cli.terminal.numbers import INT32
from headrace_cli.terminal.render import show_result

COLUMNS = tuple(field.name for field in msgspec.structs.fields(Recalled))
_TYPES = {
    "partition": "Int64",
    "offset": "Int64",
    "new_version": "Int64",
    "value": "Float64",
    "new_value": "Float64",
    "flips": "Boolean",
}


def recall(
    deployment: str,
    version: Annotated[int, typer.Argument(min=1, max=INT32, help="The bad version.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write: .csv or .parquet.")],
    other: Annotated[
        int | None,
        typer.Option(
            "--with",
            min=1,
            max=INT32,
            help="The version to decide again with; by default the champion, or the previous one if that is bad.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export every decision that a version made, decided again with another version. Reads only the log."""
    # NB: before a library of models starts its threads. They are imported late: no other command needs them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from headrace.evidence.recall import other_version, recalled

    refuse_place(out)

    async def work(session: Session) -> tuple[int, Summary]:
        async with opened(session) as evidence:
            chosen = await other_version(evidence, deployment, version, other)
            return chosen, await exported(recalled(evidence, deployment, version, chosen, Spoken()), out)

    chosen, summary = run(work)
    found = {"deployment": deployment, "version": version, "with": chosen, **asdict(summary)}
    found["file"] = str(out) if summary.decisions else None
    show_result(found, as_json=as_json, line=line_of(found))


async def exported(batches: AsyncIterator[list[Recalled]], out: Path) -> Summary:
    """Write all batches to a file, and count them. Where there is none, the file is not made, and one that is there stays."""
    summary = Summary()
    first = await anext(batches, None)
    if first is None:
        return summary
    with written(out) as add:
        add(first)
        summary.take(first)
        async for batch in batches:
            add(batch)
            summary.take(batch)
    return summary


def refuse_place(out: Path) -> None:
    """Raises `Misconfigured` for a file that is neither CSV nor Parquet, or whose folder is not there."""
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise Misconfigured(f"{out} is neither CSV nor Parquet by its name: name it .csv or .parquet")
    if not out.absolute().parent.is_dir():
        raise Misconfigured(f"there is no folder {out.absolute().parent}")


def line_of(found: dict[str, Any]) -> str:
    """What was recalled, in lines. `found`: as `--json` prints it."""
    if not found["decisions"]:
        return f"version {found['version']} has made no decision: no file is written"
    again = sum(found["why_not"].values())
    lines = [
        f"{found['decisions']:,} decisions by version {found['version']}, for requests from {found['first_at']} to {found['last_at']}",
        f"version {found['with']} says another label for {found['flips']:,} of them",
        *(f"{count:,} are not decided again: {why}" for why, count in found["why_not"].items()),
        f"all are in {found['file']}" + ("" if not again else ", those with the reason in why_not"),
    ]
    return "\n".join(lines)


@contextmanager
def written(path: Path) -> Iterator[Any]:
    """A function that adds rows to a file, which is there only once all are written. A Parquet is made from a CSV at the
    end, in bounded memory.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        with scratch.open("w", newline="", encoding="utf-8") as opened_file:
            yield _adder(opened_file)
        if path.suffix.lower() == ".parquet":
            _pack(scratch, path)
        else:
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _pack(scratch: Path, path: Path) -> None:
    import polars as pl  # late: it slows down every other command by a third of a second

    packed = path.with_name(f".{path.name}.packed")
    schema = {name: getattr(pl, _TYPES.get(name, "String")) for name in COLUMNS}
    pl.scan_csv(scratch, schema=schema).sink_parquet(packed)
    packed.replace(path)


def _adder(file: IO[str]) -> Any:
    writer = csv.writer(file)
    writer.writerow(COLUMNS)

    def add(rows: list[Recalled]) -> None:
        writer.writerows([_cell(value) for value in msgspec.structs.astuple(row)] for row in rows)

    return add


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value
