"""The reason of a command: it is kept in the log, so it must not be empty."""

from typing import Annotated

import typer

# The limit of the trainer.
MOST_CHARS = 4_000


def checked_reason(text: str) -> str:
    """The reason as given. Raises `typer.BadParameter` if it is empty, or has more than `MOST_CHARS` characters."""
    if not text.strip():
        raise typer.BadParameter("a reason must not be empty: people read it later to understand this command")
    if len(text) > MOST_CHARS:
        raise typer.BadParameter(f"a reason may have {MOST_CHARS:,} characters at most, got {len(text):,}")
    return text


Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the log.", callback=checked_reason)]
