"""Why somebody asks for something: it stands in the log for ever, so it says something."""

from typing import Annotated

import typer


def said(text: str) -> str:
    """The reason as it was given. Raises `typer.BadParameter` where it says nothing."""
    if not text.strip():
        raise typer.BadParameter("a reason must say something: it is what people read of this later")
    return text


Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the log for ever.", callback=said)]
