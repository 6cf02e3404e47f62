"""`headrace model list|show|register`."""

import asyncio
import getpass
import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.bus import artifacts
from headrace.errors import HeadraceError, Misconfigured, Poison
from headrace.events.registry import (
    CommandRefused,
    ModelVersion,
    RegisterVersion,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutQueued,
    VersionRegistered,
)
from headrace.features.rows import pin_signature
from headrace.models import skops_format
from headrace.models.digest import model_digest
from headrace_cli.render import console, instant, say, show
from headrace_cli.session import Session, plain, run

app = typer.Typer(help="Models and their versions.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_WITHIN_S = 60.0


@app.callback()
def _group() -> None:
    """Models and their versions."""


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """List all versions with their stage."""

    async def work(session: Session) -> list[dict[str, Any]]:
        current = await session.current_of("registry.models")
        return [_row(message.event) for _, message in sorted(current.items())]

    columns = ["deployment", "version", "stage", "aliases", "trained_rows", "reason", "model_digest"]
    show(run(work), columns, as_json=as_json, empty="no versions yet: register one, or let the trainer make it")


def _row(found: ModelVersion) -> dict[str, Any]:
    registered = found.registered
    return {
        "deployment": registered.deployment,
        "version": registered.version,
        "stage": found.stage,
        "aliases": list(found.aliases),
        "trained_rows": registered.trained_rows,
        "reason": registered.reason,
        "model_digest": registered.model_digest,
        "registered_at": instant(registered.registered_at_s),
    }


@app.command("show")
def show_version(deployment: str, version: int, as_json: AsJson = False) -> None:
    """Show one version whole: digests, signature, lineage, metrics, gates."""

    async def work(session: Session) -> ModelVersion:
        current = await session.current_of("registry.models")
        message = current.get(f"{deployment}/{version}")
        if message is None:
            raise Misconfigured(f"{deployment} has no version {version}: `headrace model list`")
        return message.event

    found = plain(run(work))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        console.print_json(data=found)


@app.command("register")
def register(
    file: Annotated[Path, typer.Argument(help="A model saved with skops.io.dump.")],
    deployment: Annotated[str, typer.Option(help="The deployment that it is for.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the log for ever.")] = "registered by hand",
    categories: Annotated[Path | None, typer.Option(help="JSON: per category input its values in code order.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model file as a new version, and release it."""
    data, model = _load(file)
    vocabularies = json.loads(categories.read_text()) if categories else {}

    async def work(session: Session) -> tuple[VersionRegistered, str]:
        found = session.projects.deployment(deployment)
        if found is None:
            raise Misconfigured(f"no applied project declares {deployment!r}: `headrace apply PROJECT` first")
        signature = pin_signature(*found, vocabularies)
        _refuse_width(model, len(signature.columns), deployment)
        place = await artifacts.publish(
            session.log, session.topics, data, skops_format.FORMAT, session.clock.now_s(), "cli"
        )
        output, classes = _output(model)
        command = RegisterVersion(
            deployment=deployment,
            model=found[1].model,
            place=place,
            model_digest=model_digest(model),
            signature=signature,
            output=output,
            classes=classes,
            reason=reason,
            by=getpass.getuser(),
        )
        return await _carry_out(session, command)

    registered, outcome = run(work)
    line = f"version {registered.version} of {deployment} {outcome}"
    say(plain(registered), as_json=as_json, line=line)


def _load(file: Path) -> tuple[bytes, Any]:
    if not file.exists():
        raise Misconfigured(f"no file {file}: save a model with skops.io.dump(model, {str(file)!r})")
    data = file.read_bytes()
    try:
        return data, skops_format.load(data)
    except Poison as poison:
        raise Misconfigured(f"{file}: {poison}") from None


def _refuse_width(model: Any, columns: int, deployment: str) -> None:
    wanted = getattr(model, "n_features_in_", columns)
    if wanted != columns:
        raise Misconfigured(
            f"the model takes {wanted} columns, a row of {deployment} has {columns}: the inputs must be in the model's order"
        )


def _output(model: Any) -> tuple[str, tuple[str, ...]]:
    if not hasattr(model, "predict_proba"):
        return "number", ()
    classes = tuple(str(found) for found in model.classes_)
    return ("binary", classes) if len(classes) == 2 else ("classes", classes)


async def _carry_out(session: Session, command: RegisterVersion) -> tuple[VersionRegistered, str]:
    """Send the command and wait until its version is on its way: it takes traffic, is being compared, or waits.

    Raises `HeadraceError` with the registry's reason.
    """
    ident = f"register-{secrets.token_hex(8)}"
    partitions = await session.log.partitions(session.topics.name("registry.facts"))
    reader = await session.log.reader(partitions, await session.log.end_offsets(partitions))
    await session.send("registry.commands", command.deployment, command, ident)
    registered: VersionRegistered | None = None
    try:
        async with asyncio.timeout(_WITHIN_S):
            while True:
                for record in await reader.fetch(0.5):
                    fact = session.codec.decode(record).event
                    if isinstance(fact, VersionRegistered) and fact.command_id == ident:
                        registered = fact
                    _raise_refusal(fact, ident, registered)
                    if registered is not None and (outcome := _outcome(fact, registered, command.rollout)):
                        return registered, outcome
    except TimeoutError:
        waits = (
            "the registry"
            if registered is None
            else f"version {registered.version} to be warm on all inference instances"
        )
        raise HeadraceError(f"waited {_WITHIN_S:.0f} s for {waits}: see `headrace status`") from None
    finally:
        await reader.close()


def _outcome(fact: Any, registered: VersionRegistered, is_released: bool) -> str | None:
    """What became of a registered version, in words; None while that is open."""
    if not is_released:
        return "is registered"
    if getattr(fact, "version", None) != registered.version or fact.deployment != registered.deployment:
        return None
    match fact:
        case RolloutCompleted():
            return "is registered and takes traffic"
        case RolloutAdvanced(step="shadowing" | "canary" | "testing"):
            return f"is registered and under rollout: `headrace rollout status {registered.deployment} --watch`"
        case RolloutQueued(reason=reason):
            return f"is registered and waits: {reason}"
        case _:
            return None


def _raise_refusal(fact: Any, ident: str, registered: VersionRegistered | None) -> None:
    if isinstance(fact, CommandRefused) and fact.command_id == ident:
        done = "" if registered is None else f"version {registered.version} is registered, its rollout is "
        raise HeadraceError(f"{done}refused: {fact.reason}")
    if isinstance(fact, RolloutAborted) and registered and fact.version == registered.version:
        raise HeadraceError(f"version {fact.version} is registered and does not take traffic: {fact.reason}")
