"""The message for a mistyped command: one sentence, with its usage and how to get help."""

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

_MOST_CHARS = 300


def sentence(error: typer.TyperException, tree: object, words: Iterable[str]) -> str:
    """The error and the way out; empty if the help was shown already. `tree`: all commands."""
    message = " ".join(error.format_message().split()).rstrip(".") + _got(error)
    if not message:
        return ""
    if len(message) > _MOST_CHARS:
        message = f"{message[:_MOST_CHARS]}[...]"
    context = getattr(error, "ctx", None)
    way_out = f"`{_path(tree, words)} -h` shows its help" if context is None else _way_out(context)
    return f"{message[0].lower()}{message[1:]}{' ' if message.endswith('?') else '; '}{way_out}"


def _got(error: typer.TyperException) -> str:
    """The refused value, which the message does not contain; typer keeps it with the cause."""
    errors = getattr(error.__cause__, "errors", list)()
    return f", got {str(errors[0]['input'])[:80]!r}" if errors else ""


def _way_out(context: Any) -> str:
    """`context`: of the command that was meant."""
    path = context.command_path
    if isinstance(context.command, TyperGroup):
        return f"`{path} -h` lists the commands"
    usage = " ".join([path, *context.command.collect_usage_pieces(context)])
    return f"usage: `{usage}`; `{path} -h` shows its help"


def _path(command: Any, words: Iterable[str]) -> str:
    """The command as far as the words name it; typer gives no context if an option lacks its value."""
    path = ["headrace"]
    for word in words:
        command = command.commands.get(word) if isinstance(command, TyperGroup) else None
        if command is None:
            break
        path.append(word)
    return " ".join(path)
