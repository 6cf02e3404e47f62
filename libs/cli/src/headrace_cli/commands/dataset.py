"""`headrace dataset build`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.errors import HeadraceError, Misconfigured, Poison
from headrace.log.envelope import parse_instant
from headrace_cli.session import Session, run
from headrace_cli.terminal.render import console, show_result

if TYPE_CHECKING:
    from headrace_cli.dataset.building import Wanted

app = typer.Typer(help="Point-in-time rows from the log, as Parquet.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Point-in-time rows from the log, as Parquet."""


@app.command("build")
def build(
    deployment: Annotated[str, typer.Argument(help="The deployment whose requests, labels and features are read.")],
    start: Annotated[str, typer.Option("--from", help="First instant, such as 2013-02-01.")] = "1970-01-01",
    to: Annotated[str | None, typer.Option(help="End, exclusive; now by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; datasets/DEPLOYMENT by default.")] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A manifest.json: build the same rows again, up to the same offsets, and compare the digest."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Build the rows that a model would have seen, with their labels. A repeat reads only what is new and gives the same digest."""
    from headrace_cli.dataset.building import build_dataset  # late: only this command needs polars

    before = _manifest(like) if like else None
    wanted = _wanted(deployment, start, to, before)
    folder = out or Path("datasets") / (f"{deployment}-again" if like else deployment)

    async def work(session: Session) -> dict[str, Any]:
        bar = Progress(TextColumn("reading the log"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
        with bar:
            task = bar.add_task("", total=1.0)
            return await build_dataset(session, wanted, folder, lambda share: bar.update(task, completed=share))

    manifest = run(work)
    if before is not None and manifest["digest"] != before.digest:
        raise HeadraceError(f"the rows differ from {like}: digest {manifest['digest']}, not {before.digest}")
    same = f", the same as {like}" if before else ""
    line = (
        f"{manifest['rows']:,} rows ({manifest['labelled']:,} labelled) in {folder}/rows.parquet; "
        f"digest {manifest['digest']}{same}; read {manifest['records_read']:,} new records"
    )
    show_result(manifest, as_json=as_json, line=line + outcome_counts(manifest["outcomes"]))


def outcome_counts(outcomes: Mapping[str, int]) -> str:
    """How outcomes were used, in a sentence; empty if there are none.

    >>> outcome_counts({"used": 2, "beyond_horizon": 1, "second": 0})
    '; of 3 outcomes 2 used, 1 beyond horizon'
    """
    parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in outcomes.items() if count]
    return f"; of {sum(outcomes.values()):,} outcomes {', '.join(parts)}" if parts else ""


def _wanted(deployment: str, start: str, to: str | None, before: "_Manifest | None") -> "Wanted":
    from headrace_cli.dataset.building import Wanted

    if before is not None:
        if before.deployment != deployment:
            raise Misconfigured(f"the manifest is of {before.deployment}, not of {deployment}")
        span = _instant(before.start, "from of the manifest"), _instant(before.to, "to of the manifest")
        known_by_s = _instant(before.known_by, "known_by of the manifest") if before.known_by else None
        return Wanted(deployment, *span, before.offsets, before.topic_ids, known_by_s)
    from_s = _instant(start, "--from")
    to_s = datetime.now(UTC).timestamp() if to is None else _instant(to, "--to")
    if to_s <= from_s:
        raise Misconfigured(f"--to ({to}) must lie after --from ({start})")
    return Wanted(deployment, from_s, to_s)


def _instant(text: str, option: str) -> float:
    try:
        return parse_instant(text)
    except Poison:
        raise Misconfigured(
            f"{option} takes an instant such as 2013-02-01 or 2013-02-01T06:00:00Z, got {text!r}"
        ) from None


class _Manifest(msgspec.Struct):
    """The fields of a manifest that are needed to build its rows again."""

    deployment: str
    start: str = msgspec.field(name="from")
    to: str
    offsets: dict[str, int]
    digest: str
    topic_ids: dict[str, str] = {}
    known_by: str = ""


def _manifest(path: Path) -> _Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise Misconfigured(f"cannot read the manifest {path}: {error}") from None
