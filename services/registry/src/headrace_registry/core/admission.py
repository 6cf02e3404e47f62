"""Which commands are looked at at all. `registry.commands` is written by users: names, texts and sizes are theirs.

a deployment or an id that is longer than a name                 dead-lettered: nobody could be answered under it
a command of more bytes than its kind needs                      refused
a deployment that no project declares and no version belongs to  refused, with those that there are
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.errors import Poison
from headrace.events import type_name
from headrace.events.registry import CommandRefused, RegisterVersion
from headrace.registry.state import Registry

NAME_CHARS = 200
COMMAND_BYTES = 16_384
REGISTRATION_BYTES = 262_144
_SHOWN = 20
_encoder = msgspec.msgpack.Encoder()


def why_dead(deployment: str, ident: str) -> str | None:
    """Why a command is dead-lettered; None when it is not. `ident`: its id."""
    for what, text in (("deployment", deployment), ("ce_id", ident)):
        if len(text) > NAME_CHARS:
            return f"{what} has {len(text):,} characters, at most {NAME_CHARS} are allowed"
        if not text.isprintable():
            return f"{what} has characters that cannot be printed: {text!r}"
    return None


def refusal(state: Registry, declared: Iterable[str], command: Any, ident: str) -> CommandRefused | None:
    """Why a command is refused before it is looked at; None when it is not.

    `declared`: the deployments of all applied projects. Raises `Poison` where nobody could be answered (`why_dead`).
    """
    dead = why_dead(command.deployment, ident)
    if dead is not None:
        raise Poison(dead)
    reason = _too_large(command) or _stranger(state, declared, command)
    return None if reason is None else CommandRefused(command.deployment, type_name(type(command)), ident, reason)


def _too_large(command: Any) -> str | None:
    limit = REGISTRATION_BYTES if isinstance(command, RegisterVersion) else COMMAND_BYTES
    size = len(_encoder.encode(command))
    return (
        None if size <= limit else f"the command has {size:,} bytes, at most {limit:,} are allowed: shorten its texts"
    )


def _stranger(state: Registry, declared: Iterable[str], command: Any) -> str | None:
    name = command.deployment
    known = sorted({*declared, *state.entries})
    if name in known or isinstance(command, RegisterVersion):
        return None
    if not known:
        return f"there is no deployment {name!r}, nor any other: `headrace apply` declares them"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"there is no deployment {name!r}; there are: {', '.join(known[:_SHOWN])}{more}"
