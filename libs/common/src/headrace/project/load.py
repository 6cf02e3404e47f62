"""Finding a user's project: by path, by `module:attribute`, or by the entry point group `headrace.projects`."""

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured
from headrace.project.declare import Project

GROUP = "headrace.projects"


def load_project(reference: str) -> tuple[Project, str]:
    """The project, and the reference under which other processes can import it too.

    `reference`: an entry point's name, `package.module:attribute`, or a path to a package folder or a .py file.
    """
    for point in entry_points(group=GROUP):
        if point.name == reference:
            return _checked(_attribute(point.value), reference), point.value
    if Path(reference).exists():
        return _by_path(Path(reference).resolve())
    if ":" in reference:
        folder, _, rest = reference.rpartition("!")
        _on_path(folder)
        return _checked(_attribute(rest), reference), reference
    known = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none is installed"
    raise Misconfigured(
        f"no project {reference!r}: give a path, module:attribute, or one of the installed ones ({known})"
    )


def load_function(reference: str, folder: str = "") -> Any:
    """A user's function by `module:name`; raises `Misconfigured` when it cannot be imported."""
    _on_path(folder)
    return _attribute(reference)


def folder_of(reference: str) -> str:
    """The folder to put on the import path, of a reference `folder!module:attribute`; "" when it is installed."""
    return reference.rpartition("!")[0]


def _by_path(path: Path) -> tuple[Project, str]:
    package = path.parent.name if path.name == "project.py" else path.name
    if path.is_dir():
        found = sorted({*path.glob("project.py"), *path.glob("src/*/project.py"), *path.glob("*/project.py")})
        if not found:
            raise Misconfigured(f"{path} holds no project.py; `headrace new NAME` writes a package that does")
        path = found[0]
        package = path.parent.name
    is_package = (path.parent / "__init__.py").exists()
    folder = str(path.parent.parent if is_package else path.parent)
    module = f"{package}.{path.stem}" if is_package else path.stem
    reference = f"{folder}!{module}:project"
    _on_path(folder)
    return _checked(_attribute(f"{module}:project"), str(path)), reference


def _on_path(folder: str) -> None:
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)


def _attribute(reference: str) -> Any:
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise Misconfigured(f"cannot import {module!r}: {error}; install the package, or give its folder") from error
    except AttributeError:
        raise Misconfigured(f"{module} has no {name!r}; a project module ends with `{name} = Project(...)`") from None


def _checked(found: Any, reference: str) -> Project:
    if not isinstance(found, Project):
        raise Misconfigured(f"{reference} is a {type(found).__name__}, not a headrace.project.Project")
    return found
