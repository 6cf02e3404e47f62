"""`headrace new`: writes a new project package from templates."""

import keyword
import re
from importlib import resources
from pathlib import Path

from headrace.errors import Misconfigured

FILES = ("__init__.py", "project.py", "train.py", "README.md")


def write_project(name: str, folder: Path) -> Path:
    """Write `folder/name`. Raises `Misconfigured` for a name that Python cannot import, and for a folder that exists."""
    import jinja2  # late: every other command would wait for it

    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        raise Misconfigured(f"a project's name is lower-case letters, digits and dashes, got {name!r}")
    path = folder / package
    if path.exists():
        raise Misconfigured(f"{path} exists already: choose another name, or --folder")
    path.mkdir(parents=True)
    for file in FILES:
        text = resources.files("headrace_cli").joinpath("templates", f"{file}.j2").read_text()
        rendered = jinja2.Template(text, keep_trailing_newline=True).render(name=name, package=package, path=path)
        (path / file).write_text(rendered)
    return path
