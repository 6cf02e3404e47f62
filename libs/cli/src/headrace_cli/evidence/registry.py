"""Commands to the registry with their answers, and its state, now or as of an earlier moment."""

import getpass
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from headrace.errors import HeadraceError, Misconfigured, Poison
from headrace.events.registry import CommandRefused
from headrace.log.codec import Message
from headrace.log.envelope import parse_instant
from headrace.log.port import Reader
from headrace.registry.state import Entry, Fold
from headrace_cli.installation.local import Local
from headrace_cli.session import Session
from headrace_cli.terminal.waiting import NothingMoves, Workers, wait_for

T = TypeVar("T")


def me() -> str:
    """The name of the user, which is kept in the log with each command."""
    return getpass.getuser()


async def ask(session: Session, command: Any) -> list[Any]:
    """Send a command and wait for the facts that it causes. Raises `HeadraceError` with the registry's reason."""
    ident = f"cli-{secrets.token_hex(8)}"
    topic = session.topics.name("registry.facts")
    partitions = await session.log.partitions(topic)
    reader = await session.log.reader(partitions, await session.log.end_offsets(partitions))
    try:
        await session.send("registry.commands", command.deployment, command, ident)
        facts = await await_facts(
            session, reader, lambda messages: _caused_by(messages, ident) or None, lambda: "the registry's answer"
        )
    finally:
        await reader.close()
    for fact in facts:
        if isinstance(fact, CommandRefused):
            raise HeadraceError(f"refused: {fact.reason}")
    return facts


async def await_facts(
    session: Session, reader: Reader, find: Callable[[Sequence[Message]], T | None], what: Callable[[], str]
) -> T:
    """Read until `find` finds something in a fetch, as long as facts come or a process of this installation works.

    `what`: what is waited for, printed every fifteen seconds. Raises `HeadraceError` when nothing progresses.
    """
    read = 0

    async def has() -> T | None:
        nonlocal read
        messages = [session.codec.decode(record) for record in await reader.fetch(0.3)]
        read += len(messages)
        return find(messages) if messages else None

    workers = Workers(Local.here().pids)
    try:
        return await wait_for(has, what=what, report=_report, sign=lambda: read, is_busy=workers.are_busy, every_s=0.0)
    except NothingMoves as error:
        raise HeadraceError(f"waited for {error}; see `headrace status`") from None


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _caused_by(messages: Sequence[Message], ident: str) -> list[Any]:
    """NB: the facts of one command are one transaction: a reader of committed records gets all of them or none."""
    return [message.event for message in messages if message.envelope.causation_id == ident]


async def fold(session: Session, as_of: str | None = None) -> Fold:
    """Fold all facts of the registry up to now, or up to an offset (inclusive) or an instant of append time."""
    folded = Fold()
    within = _until(as_of)
    for message in await session.all_of("registry.facts"):
        if within(message):
            folded.take(message.event, message.envelope.id)
    return folded


def _until(as_of: str | None) -> Any:
    if as_of is None:
        return lambda message: True
    if as_of.isdigit():
        return lambda message: message.record.offset <= int(as_of)
    try:
        instant_ms = parse_instant(as_of) * 1000
    except Poison:
        raise Misconfigured(
            f"--as-of takes an offset of registry.facts or an instant such as 2013-04-01T12:00:00Z, got {as_of!r}"
        ) from None
    return lambda message: message.record.timestamp_ms <= instant_ms


async def entry_of(session: Session, deployment: str, as_of: str | None = None) -> Entry:
    """The registry's entry of a deployment. Raises `Misconfigured` if there is none."""
    state = (await fold(session, as_of)).state
    if deployment in state.entries:
        return state.entries[deployment]
    known = ", ".join(sorted(state.entries)) or "none yet"
    raise Misconfigured(f"the registry knows no version of {deployment!r}; deployments with versions: {known}")
