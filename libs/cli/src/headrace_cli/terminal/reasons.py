"""Why somebody asks for something: it stands in the log for ever, so it says something."""

from typing import Annotated

import typer

# As many as the trainer takes.
MOST_CHARS = 4_000


def checked_reason(text: str) -> str:
    """The reason as it was given. Raises `typer.BadParameter` where it says nothing, or has more than `MOST_CHARS` characters."""
    if not text.strip():
        raise typer.BadParameter("a reason must say something: it is what people read of this later")
    if len(text) > MOST_CHARS:
        raise typer.BadParameter(f"a reason may have {MOST_CHARS:,} characters at most, got {len(text):,}")
    return text


Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the log for ever.", callback=checked_reason)]
