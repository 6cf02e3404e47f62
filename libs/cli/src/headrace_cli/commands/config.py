"""`headrace config show`: every setting, and the origin of its value."""

from typing import Annotated

import typer

from headrace.hosting.settings import SECRETS, origins
from headrace_cli.installation.local import environ_here
from headrace_cli.terminal.render import show

app = typer.Typer(help="Settings.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Settings."""


@app.command("show")
def show_settings(as_json: AsJson = False) -> None:
    """Show every setting with its origin: default, the file, a variable, or the running `headrace up`."""
    found = origins()
    for name, (value, _) in origins(environ_here()).items():
        if value != found[name][0]:
            found[name] = (value, "`headrace up` here")
    rows = [
        {"setting": name, "value": "***" if name in SECRETS and value else value, "from": where}
        for name, (value, where) in found.items()
    ]
    show(rows, ["setting", "value", "from"], as_json=as_json, empty="")
