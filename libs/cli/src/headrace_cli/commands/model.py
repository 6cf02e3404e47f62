"""`headrace model list|show|card|alias|tag|approve|archive|delete|register|import|convert|recall`."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.errors import Misconfigured
from headrace.events.registry import (
    ApproveVersion,
    ArchiveVersion,
    CardWritten,
    DeleteVersion,
    ModelVersion,
    SetAlias,
    TagVersion,
    VersionDeleted,
)
from headrace_cli.commands.recall import recall
from headrace_cli.evidence.registry import ask, entry_of, fold, me
from headrace_cli.models.conversion import WARNING, convert
from headrace_cli.models.mlflow import find
from headrace_cli.models.registration import Done, Registration, register_file
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import INT32
from headrace_cli.terminal.pairs import pairs
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import console, instant, show, show_result

app = typer.Typer(help="Models and their versions.", no_args_is_help=True)
app.command("recall")(recall)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Version = Annotated[int, typer.Argument(min=0, max=INT32)]
AsOf = Annotated[str | None, typer.Option(help="As of an offset of registry.facts, or an instant of append time.")]
Output = Annotated[str | None, typer.Option(help="binary, classes or number; read from the model by default.")]
InputsOnly = Annotated[
    bool, typer.Option("--inputs-only", help="It uses a request's inputs and no view features: a baseline.")
]
Frame = Annotated[
    bool,
    typer.Option(
        "--frame", help="It needs a frame with names and words instead of a matrix (slower); detected for most models."
    ),
]
Sample = Annotated[
    Path | None,
    typer.Option(
        help="Requests as it will get them (CSV, Parquet, JSON lines): they are checked and scored, and give the words of categories."
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(help="The names of its classes, in the model's order, if its file has none: no,yes."),
]

Reference = Annotated[
    Path | None,
    typer.Option(
        help="Rows that are normal for it (CSV, Parquet), which it has not seen if possible: live ones are compared with them."
    ),
]
ReferenceAt = Annotated[str, typer.Option(help="The column of --reference that says when each row was asked.")]


@app.callback()
def _group() -> None:
    """Models and their versions."""


@app.command("list")
def list_versions(
    deployment: Annotated[str | None, typer.Argument(help="Only of this deployment.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only in this stage: registered, champion, retired ...")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag, as name=value.")] = None,
    least: Annotated[
        list[str] | None, typer.Option("--min", help="Only with this metric at least, as auc=0.7.")
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List versions with their stage; options narrow the search."""
    holds = _filters(deployment, stage, tag or (), least or ())

    async def work(session: Session) -> list[ModelVersion]:
        every = await _versions(session, as_of)
        if deployment is not None and not any(one.registered.deployment == deployment for one in every):
            session.projects.declared(deployment)
        return [version for version in every if all(f(version) for f in holds)]

    found = run(work)
    columns = ["deployment", "version", "stage", "aliases", "tags", "trained_rows", "reason", "model_digest"]
    none = f"{deployment} has no version yet" if deployment else "no version is registered yet"
    empty = "no version matches these options" if stage or tag or least else none
    show([_row(version) for version in found], columns, as_json=as_json, empty=empty)


Holds = Callable[[ModelVersion], bool]


def _filters(deployment: str | None, stage: str | None, tags: Sequence[str], least: Sequence[str]) -> list[Holds]:
    holds: list[Holds] = []
    if deployment is not None:
        holds.append(lambda found: found.registered.deployment == deployment)
    if stage is not None:
        holds.append(lambda found: found.stage == stage)
    for name, value in pairs(tags, "--tag").items():
        holds.append(lambda found, name=name, value=value: found.tags.get(name) == value)
    for name, value in pairs(least, "--min").items():
        limit = _figure(name, value)
        holds.append(lambda found, name=name, limit=limit: found.registered.metrics.get(name, float("-inf")) >= limit)
    return holds


def _figure(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Misconfigured(f"--min {name}= takes a number, got {value!r}") from None


async def _versions(session: Session, as_of: str | None) -> list[ModelVersion]:
    if as_of is None:
        current = await session.current_of("registry.models")
        found = [message.event for message in current.values()]
    else:
        entries = (await fold(session, as_of)).state.entries.values()
        found = [entry.model_version(version) for entry in entries for version in entry.versions]
    return sorted(found, key=lambda version: (version.registered.deployment, version.registered.version))


def _row(found: ModelVersion) -> dict[str, Any]:
    registered = found.registered
    return {
        "deployment": registered.deployment,
        "version": registered.version,
        "stage": found.stage,
        "aliases": list(found.aliases),
        "tags": [f"{name}={value}" for name, value in sorted(found.tags.items())],
        "metrics": registered.metrics,
        "format": registered.place.format,
        "approved_by": found.approved_by,
        "trained_rows": registered.trained_rows,
        "reason": registered.reason,
        "model_digest": registered.model_digest,
        "registered_at": instant(registered.registered_at_s),
    }


@app.command("show")
def show_version(deployment: str, version: Version, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show one version in full: digests, signature, lineage, metrics, gates, waivers."""

    async def work(session: Session) -> ModelVersion:
        name = (deployment, version)
        for found in await _versions(session, as_of):
            if (found.registered.deployment, found.registered.version) == name:
                return found
        raise Misconfigured(f"{deployment} has no version {version}: `headrace model list`")

    found = plain(run(work))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        console.print_json(data=found)


@app.command("card")
def card(
    deployment: str,
    version: Version,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a version's model card, or write it to a file: Markdown with front matter."""

    async def work(session: Session) -> str:
        facts = [message.event for message in await session.all_of("registry.facts")]
        for fact in reversed(facts):
            if isinstance(fact, CardWritten) and (fact.deployment, fact.version) == (deployment, version):
                return fact.markdown
        raise Misconfigured(f"{deployment} has no version {version} with a card: `headrace model list`")

    markdown = run(work)
    if out is not None:
        out.write_text(markdown)
    line = markdown if out is None else f"the card is in {out}"
    if as_json or out is not None:
        return show_result(
            {"deployment": deployment, "version": version, "markdown": markdown}, as_json=as_json, line=line
        )
    return print(markdown)


@app.command("alias")
def alias(
    deployment: str,
    name: Annotated[str, typer.Argument(help="baseline, challenger, or a name of your own.")],
    version: Version,
    expected: Annotated[
        int | None,
        typer.Option(
            min=0, max=INT32, help="The version that it must have now, 0 for none; the current one by default."
        ),
    ] = None,
    reason: Reason = "set by hand",
    as_json: AsJson = False,
) -> None:
    """Move an alias to a version. Of two commands at the same time one succeeds, and the other is refused with the reason."""

    async def work(session: Session) -> list[Any]:
        stands_at = (await entry_of(session, deployment)).aliases.get(name) if expected is None else expected or None
        return await ask(session, SetAlias(deployment, name, version, stands_at, reason, me()))

    facts = run(work)
    show_result({"facts": plain(facts)}, as_json=as_json, line=f"{name} of {deployment} is version {version}")


@app.command("tag")
def tag(deployment: str, version: Version, tags: list[str], as_json: AsJson = False) -> None:
    """Set tags of a version, as name=value; an empty value removes the tag."""
    command = TagVersion(deployment, version, pairs(tags, "a tag"), me())
    _send(command, as_json, f"version {version} of {deployment} is tagged")


@app.command("approve")
def approve(deployment: str, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Approve a version with your name, if the project requires it; a waiting version is released."""
    command = ApproveVersion(deployment, version, reason, me())
    _send(command, as_json, f"version {version} of {deployment} is approved by {me()}")


@app.command("archive")
def archive(deployment: str, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Take a version out of use; refused while anything uses it."""
    command = ArchiveVersion(deployment, version, reason, me())
    _send(command, as_json, f"version {version} of {deployment} is archived")


@app.command("delete")
def delete(deployment: str, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Delete the artifacts of an archived version that no other version uses; its facts stay."""

    async def work(session: Session) -> list[Any]:
        return await ask(session, DeleteVersion(deployment, version, reason, me()))

    facts = run(work)
    gone = next(fact for fact in facts if isinstance(fact, VersionDeleted)).artifacts
    artifacts = f"{len(gone)} artifact(s) are deleted" if gone else "its artifact stays: another version uses it"
    show_result(
        {"facts": plain(facts)}, as_json=as_json, line=f"version {version} of {deployment} is deleted; {artifacts}"
    )


def _send(command: Any, as_json: bool, line: str) -> None:
    facts = run(lambda session: ask(session, command))
    show_result({"facts": plain(facts)}, as_json=as_json, line=line)


@app.command("register")
def register(
    file: Annotated[Path, typer.Argument(help="A model: .skops, .onnx, XGBoost (.json, .ubj) or LightGBM (.txt).")],
    deployment: Annotated[str, typer.Option(help="The deployment that it is for.")],
    reason: Reason = "registered by hand",
    categories: Annotated[Path | None, typer.Option(help="JSON: per category input its values in code order.")] = None,
    owner: Annotated[str, typer.Option(help="Who is responsible for it.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag, as name=value.")] = None,
    release: Annotated[bool, typer.Option(help="Release it at once, by the deployment's policy.")] = True,
    output: Output = None,
    inputs_only: InputsOnly = False,
    frame: Frame = False,
    sample: Sample = None,
    classes: Classes = None,
    reference: Reference = None,
    reference_at: ReferenceAt = "at",
    as_json: AsJson = False,
) -> None:
    """Register a model file as a new version, and release it.

    Columns, categories, classes and outputs are compared with the deployment's. A model that cannot be served exactly is refused.
    """
    tags = pairs(tag or (), "--tag")
    about = Registration(
        deployment, reason, categories, owner, tags, release, output, inputs_only, frame, sample, _names(classes),
        reference, reference_at,
    )  # fmt: skip
    _show_registered(register_file(file, about), "", as_json)


@app.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="An MLflow model's directory, or a model file.")],
    deployment: Annotated[str, typer.Option(help="The deployment that it is for.")],
    reason: Reason = "imported by hand",
    categories: Annotated[Path | None, typer.Option(help="JSON: per category input its values in code order.")] = None,
    owner: Annotated[str, typer.Option(help="Who is responsible for it.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag, as name=value.")] = None,
    release: Annotated[bool, typer.Option(help="Release it at once, by the deployment's policy.")] = True,
    output: Output = None,
    inputs_only: InputsOnly = False,
    frame: Frame = False,
    sample: Sample = None,
    classes: Classes = None,
    reference: Reference = None,
    reference_at: ReferenceAt = "at",
    as_json: AsJson = False,
) -> None:
    """Register the model of an MLflow directory: skops, ONNX, native XGBoost or LightGBM; never a pickle."""
    found = find(path)
    tags = dict(found.tags) | pairs(tag or (), "--tag")
    about = Registration(
        deployment, reason, categories, owner, tags, release, output, inputs_only, frame, sample, _names(classes),
        reference, reference_at,
    )  # fmt: skip
    _show_registered(register_file(found.file, about, found.format, found.columns), f" (from {found.file})", as_json)


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (listed or "").split(",") if name.strip())


def _show_registered(done: Done, origin: str, as_json: bool) -> None:
    registered = done.registered
    for note in done.notes:
        print(f"headrace: {note}", file=sys.stderr)
    line = f"version {registered.version} of {registered.deployment} {done.outcome}{origin}"
    show_result(plain(registered), as_json=as_json, line=line)


@app.command("convert")
def convert_pickle(
    file: Annotated[Path, typer.Argument(help="A pickle or joblib file of a scikit-learn, XGBoost or LightGBM model.")],
    out: Annotated[Path | None, typer.Option(help="The output file; next to the pickle by default.")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Rows to compare on: .npy, or a CSV with a header; random rows by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert a pickle into a file that can be served, and show that both give the same answers. Publishes nothing."""
    print(f"headrace: {WARNING.format(file=file)}", file=sys.stderr)
    done = convert(file, out, rows)
    for note in done.notes:
        print(f"headrace: {note}", file=sys.stderr)
    line = f"{done.file} ({done.format}): {done.rows} rows compared, largest difference {done.largest_difference:.3g}"
    show_result(asdict(done), as_json=as_json, line=line)
