"""Every command and every variable that a message, an alert or a page names exists."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from headrace.hosting.settings import strangers
from headrace_cli.main import app

ROOT = Path(__file__).parents[2]
ROOMS = ("libs", "services", "deploy", "examples", "docs")
# The changelog describes syntax, and commands that are gone, so it is left out.
FILES = sorted(
    path
    for path in [*(path for room in ROOMS for path in (ROOT / room).rglob("*")), ROOT / "README.md"]
    if path.suffix in (".md", ".py") and not {"tests", ".venv", "node_modules"} & {*path.relative_to(ROOT).parts}
)
COMMAND = re.compile(r"[`\"$>] ?headrace ([a-z]+)(?: ([a-z]+))?([^`\n\"|]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bHEADRACE_[A-Z0-9_]*[A-Z0-9]\b(?!_?\*)")


def text_of(path: Path) -> str:
    """A file's text, in which literals that were written on several lines are joined."""
    return re.sub(r'"\s*\n\s*f?"', "", path.read_text())


@cache
def commands() -> TyperGroup:
    """The tree of commands. NB: once, since making it takes a twentieth of a second, and there are hundreds of files."""
    tree = typer.main.get_command(app)
    assert isinstance(tree, TyperGroup)
    return tree


def missing(text: str) -> Iterator[str]:
    tree = commands()
    for found in COMMAND.finditer(text):
        command, verb, rest = tree.commands.get(found[1]), found[2], found[3].split("headrace ")[0]
        if isinstance(command, TyperGroup):
            command = command.commands.get(verb or "")
        if command is None:
            yield f"headrace {found[1]} {verb or ''}".rstrip()
            continue
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        yield from (f"headrace {found[1]} {verb or ''} {name}" for name in OPTION.findall(rest) if name not in known)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("`headrace logs monitor`", ["headrace logs monitor"]),
        ('"headrace topic resume x --partition 1 --service y"', ["headrace topic resume --service"]),
        ("`headrace topic resume x --partition 1`, `headrace up`", []),
    ],
)
def test_a_command_that_is_not_there_is_found(text: str, wanted: list[str]) -> None:
    assert list(missing(text)) == wanted


def test_every_command_that_is_named_is_there_with_its_options() -> None:
    assert len(FILES) > 200
    assert {str(path.relative_to(ROOT)): commands for path in FILES if (commands := list(missing(text_of(path))))} == {}


def test_every_variable_that_is_named_is_a_setting_or_known_to_be_none() -> None:
    named = {name: str(path.relative_to(ROOT)) for path in FILES for name in VARIABLE.findall(path.read_text())}
    of_the_example = {"HEADRACE_NAMESPCE"}  # the docstring of `strangers`
    assert {name: where for name, where in named.items() if strangers({name: ""})}.keys() <= of_the_example
