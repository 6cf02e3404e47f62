"""Registers a model file: it is read, checked against the deployment's rows, put on the log, and followed to its release."""

import hashlib
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, Misconfigured, Poison
from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import (
    CommandRefused,
    RegisterVersion,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutQueued,
    Signature,
    VersionRegistered,
)
from headrace.log.codec import Message
from headrace.models import artifacts
from headrace.models.digest import model_digest
from headrace.models.engine import MAX_BYTES, Engine, format_of
from headrace.models.engine import load as load_engine
from headrace.models.gaps import gap_notes
from headrace.models.proving import Answering
from headrace.models.skops_format import SkopsEngine
from headrace_cli.evidence.registry import await_facts, me
from headrace_cli.models.agreement import Declared, agree
from headrace_cli.models.answers import range_note
from headrace_cli.models.proofs import answering, proven
from headrace_cli.models.reference_rows import Described, read_reference
from headrace_cli.models.samples import Requests, read_requests
from headrace_cli.models.vocabularies import read_words
from headrace_cli.session import Session, run

_MOST_CATEGORIES_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Registration:
    """The options of a registration. `categories`: a JSON file with the values of each category in code order.

    `output`: `binary`, `classes` or `number`, read from the model if None. `inputs_only`: it uses no view features.
    `frame`: it needs names and words. `sample`: a file of requests. `classes`: the names of its classes, in its order.
    `reference`: a file of rows that are normal for it, `reference_at`: their column of instants.
    """

    deployment: str
    reason: str
    categories: Path | None = None
    owner: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    release: bool = True
    output: str | None = None
    inputs_only: bool = False
    frame: bool = False
    sample: Path | None = None
    classes: tuple[str, ...] = ()
    reference: Path | None = None
    reference_at: str = "at"


@dataclass(frozen=True)
class Done:
    """A registered version. `outcome`: its state, as a text. `notes`: messages about how it is served."""

    registered: VersionRegistered
    outcome: str
    notes: tuple[str, ...]


def register_file(file: Path, about: Registration, format: str | None = None, named: tuple[str, ...] = ()) -> Done:
    """Register a file and follow it to its release. Raises `HeadraceError` with the reason.

    `format`: by the file's suffix if None. `named`: the columns in the order of the model's training, () if unknown.
    """
    words = (
        read_words(about.categories, read_file(about.categories, _MOST_CATEGORIES_BYTES)) if about.categories else None
    )
    data, format, model = _load(file, format)

    async def work(session: Session) -> Done:
        found = session.projects.deployment(about.deployment)
        if found is None:
            raise Misconfigured(f"no applied project declares {about.deployment!r}: `headrace apply PROJECT` first")
        requests = read_requests(about.sample, found[1]) if about.sample else Requests()
        declared = Declared(words, about.output, about.classes, about.inputs_only, about.frame, requests)
        if not model.names:
            _refuse_order(named, agree(model, *found, declared).signature, about.deployment)
        agreed, golden = proven(data, format, model, *found, declared)
        normal = _described(data, format, about, found[1], answering(agreed))
        now_s = session.clock.now_s()
        place = await artifacts.publish(session.log, session.topics, data, format, now_s, "cli")
        command = RegisterVersion(
            deployment=about.deployment,
            model=found[1].model,
            place=place,
            model_digest=_digest(model, data),
            signature=agreed.signature,
            output=agreed.answers.output,
            classes=agreed.answers.classes,
            class_places=agreed.answers.places,
            reason=about.reason,
            by=me(),
            rollout=about.release,
            owner=about.owner,
            tags=about.tags,
            golden=golden,
            reference=None if normal is None else normal.reference,
        )
        gaps = gap_notes(model, found[1], answering(agreed), golden)
        notes = (*agreed.notes, *range_note(found[1].label, golden), *gaps, *(() if normal is None else normal.notes))
        return Done(*await _carry_out(session, command), notes)

    return run(work)


def read_file(file: Path, most_bytes: int) -> bytes:
    """The bytes of a user's file. Raises `Misconfigured` if it is too large, or not a regular file (a folder, a device, a pipe)."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
            raise Misconfigured(f"{file} is {what}, not a file: give the path of a regular file")
        if found.st_size > most_bytes:
            raise Misconfigured(f"{file} has {found.st_size:,} bytes, the limit is {most_bytes:,}")
        return file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from None


def _load(file: Path, format: str | None) -> tuple[bytes, str, Engine]:
    if not file.exists():
        raise Misconfigured(f"no file {file}: save a model with skops.io.dump(model, {str(file)!r})")
    data, format = read_file(file, MAX_BYTES), format or format_of(file.name)
    try:
        return data, format, load_engine(data, format)
    except Poison as poison:
        raise Misconfigured(f"{file}: {poison}") from None


def _described(
    data: bytes, format: str, about: Registration, deployment: DeploymentDefinition, answering: Answering
) -> Described | None:
    """What is normal for the version; None where no rows are given."""
    if about.reference is None:
        return None
    return read_reference(about.reference, about.reference_at, deployment, answering, load_engine(data, format))


def _digest(model: Engine, data: bytes) -> str:
    """The digest of a scikit-learn model's contents, or of the bytes of other files, which are always written the same way."""
    return model_digest(model.estimator) if isinstance(model, SkopsEngine) else hashlib.sha256(data).hexdigest()[:32]


def _refuse_order(named: tuple[str, ...], signature: Signature, deployment: str) -> None:
    """Refuse names that come with a file but are not in it, unless they are those of the row in its order: serving cannot use them."""
    columns = tuple(column.name for column in signature.columns)
    if named and named != columns:
        raise Misconfigured(
            f"the model was trained on {', '.join(named)}, a row of {deployment} has {', '.join(columns)}:"
            " declare the inputs by these names, in the model's order"
        )


async def _carry_out(session: Session, command: RegisterVersion) -> tuple[VersionRegistered, str]:
    """Send the command and wait until the version takes traffic, is under rollout, or waits.

    Raises `HeadraceError` with the registry's reason.
    """
    ident = f"register-{secrets.token_hex(8)}"
    partitions = await session.log.partitions(session.topics.name("registry.facts"))
    reader = await session.log.reader(partitions, await session.log.end_offsets(partitions))
    await session.send("registry.commands", command.deployment, command, ident)
    registered: VersionRegistered | None = None

    def find(messages: Sequence[Message]) -> tuple[VersionRegistered, str] | None:
        nonlocal registered
        for fact in [message.event for message in messages]:
            if isinstance(fact, VersionRegistered) and fact.command_id == ident:
                registered = fact
            _raise_refusal(fact, ident, registered)
            if registered is not None and (outcome := _outcome(fact, registered, command.rollout)):
                return registered, outcome
        return None

    def what() -> str:
        if registered is None:
            return "the registry"
        return f"version {registered.version} to be warm on all inference instances"

    try:
        return await await_facts(session, reader, find, what)
    finally:
        await reader.close()


def _outcome(fact: Any, registered: VersionRegistered, is_released: bool) -> str | None:
    """The state of a registered version, as a text; None while it is not decided."""
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
