"""Finds a user's project: by path, by `module:attribute`, or by the entry point group `headrace.projects`.

Importing runs code. So a service imports only what its host allows, whatever is on `project.definitions`:
`HEADRACE_ALLOWED_PROJECTS` (names of entry points, references, folders), or without it the installed entry points and
the projects that `headrace apply` has applied on this machine.

A process has one module of each name. So an import is compared with what was meant: a module that another folder's
project has loaded already is refused, and so is a project of another name.
"""

import importlib
import json
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.errors import Misconfigured
from headrace.project.declare import Project
from headrace.project.namesakes import file_of, namesake
from headrace.project.raised import one_line, place_and_message, place_of

GROUP = "headrace.projects"
# Folders of projects on this process's import path.
_FOLDERS: set[str] = set()
# The number of a module's projects that a message names.
_NAMED = 5


def load_project(reference: str) -> tuple[Project, str]:
    """The project, and the reference under which other processes can import it too.

    `reference`: an entry point's name, `package.module:attribute`, or a path to a package folder or a .py file, which
    may be followed by `:attribute` to choose one of several. Raises `Misconfigured` when there is none.
    """
    if "/" not in reference:
        for point in entry_points(group=GROUP):
            if point.name == reference:
                return _checked(_attribute(point.value), reference), point.value
    if Path(reference).exists():
        return _by_path(Path(reference).resolve())
    path, _, attribute = reference.rpartition(":")
    if is_path(path) and Path(path).exists():
        return _by_path(Path(path).resolve(), attribute)
    if ":" in reference:
        return _checked(_of_folder(reference), reference), reference
    known = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none is installed"
    raise Misconfigured(
        f"no project {reference!r}: give a path, module:attribute, or one of the installed ones ({known})"
    )


def is_path(text: str) -> bool:
    """Whether a text can only be a path: a module's name has no slash and does not end with `.py`."""
    return "/" in text or text.endswith(".py")


@dataclass(frozen=True)
class Allowed:
    """What may be imported here.

    `listed`: the setting, comma-separated, "" for the default. `applied_file`: where `headrace apply` records what it
    applied on this machine, "" for nowhere.
    """

    listed: str = ""
    applied_file: str = ""

    def why_not(self, project: str, reference: str) -> str | None:
        """Why a project may not be imported here, with the way out; None when it may."""
        wanted = [found.strip() for found in self.listed.split(",") if found.strip()]
        if not wanted:
            wanted = [point.name for point in entry_points(group=GROUP)] + _applied_here(self.applied_file)
        if any(_is_meant(found, reference) for found in wanted):
            return None
        add = folder_of(reference) or reference
        return (
            f"project {project} is not allowed here: this host does not import {reference!r}. Install it with an entry point"
            f" of the group {GROUP}, run `headrace apply` on this machine, or add {add} to HEADRACE_ALLOWED_PROJECTS"
        )


def load_allowed(project: str, reference: str, allowed: Allowed) -> Project:
    """The project of a definition, when this host allows it.

    Raises `Misconfigured` when it does not, before anything is imported, and when the code is another project's.
    """
    refused = allowed.why_not(project, reference)
    if refused is not None:
        raise Misconfigured(refused)
    found = _checked(_of_folder(reference), reference)
    if found.name != project:
        raise Misconfigured(f"{reference} is project {found.name!r} now, not {project!r}: apply it again")
    return found


def load_build(project: str, reference: str, build: str, allowed: Allowed) -> Any:
    """The `build` of a deployment's training, taken from the project itself, since a definition could name anything."""
    found = load_allowed(project, reference, allowed)
    builds = [deployment.training.build for deployment in found.deployments if deployment.training is not None]
    for function in builds:
        if f"{function.__module__}:{getattr(function, '__qualname__', '')}" == build:
            return function
    raise Misconfigured(
        f"project {project} trains by {build!r}, which none of its deployments uses any more: apply it again"
    )


def note_applied(file: Path, project: str, reference: str) -> None:
    """Record that a project was applied on this machine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    known = {name: found for name, found in _read_applied(file).items() if name != project}
    written = file.with_suffix(".new")
    written.write_text(json.dumps(known | {project: reference}, indent=2))
    written.replace(file)


def _applied_here(file: str) -> list[str]:
    return list(_read_applied(Path(file)).values()) if file else []


def _read_applied(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(reference) for name, reference in found.items()} if isinstance(found, dict) else {}


def _is_meant(allowed: str, reference: str) -> bool:
    """Whether an entry of the list (an entry point's name, a reference, or a folder) means this reference."""
    folder, _, rest = reference.rpartition("!")
    if allowed == reference:
        return True
    if not folder:
        return any(point.name == allowed and point.value == reference for point in entry_points(group=GROUP))
    module = Path(folder, *rest.partition(":")[0].split("."))
    return file_of(Path(folder), rest.partition(":")[0]) is not None and any(
        _is_same(Path(allowed), place) for place in (Path(folder), module, module.parent)
    )


def _is_same(left: Path, right: Path) -> bool:
    return left.is_absolute() and left.resolve() == right.resolve()


def load_function(reference: str, folder: str = "") -> Any:
    """A user's function by `module:name`. Raises `Misconfigured` when it cannot be imported."""
    return _of_folder(f"{folder}!{reference}" if folder else reference)


def folder_of(reference: str) -> str:
    """The folder of a reference `folder!module:attribute`, for the import path; "" when the module is installed."""
    return reference.rpartition("!")[0]


def _by_path(path: Path, attribute: str = "") -> tuple[Project, str]:
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
    imported = _of_folder(f"{folder}!{module}")
    attribute = attribute or _the_one(imported, path)
    return _checked(_got(imported, attribute, f"{path}:"), f"{path}:{attribute}"), f"{folder}!{module}:{attribute}"


def _the_one(imported: ModuleType, path: Path) -> str:
    """The name of the module's project: `project`, or the only one."""
    names = _projects(imported)
    if "project" in names or (hasattr(imported, "project") and not names):
        return "project"
    if len(names) == 1:
        return names[0]
    if not names:
        raise Misconfigured(f"{path} declares no project: it ends with `project = Project(...)`")
    raise Misconfigured(
        f"{path} declares {len(names)} projects, {', '.join(names)}: name one, such as {path}:{names[0]}"
    )


def _projects(imported: ModuleType) -> list[str]:
    """The names of a module's projects, each by the first of its names."""
    names = {id(value): name for name, value in reversed(vars(imported).items()) if isinstance(value, Project)}
    return list(reversed(names.values()))


def _of_folder(reference: str) -> Any:
    """What `folder!module:attribute` names, from that folder only; without a folder, from what is installed."""
    folder, _, rest = reference.rpartition("!")
    if not folder:
        return _attribute(rest)
    module = rest.partition(":")[0]
    _on_path(folder)
    found = _attribute(rest)
    if file_of(Path(folder), module) is None:
        raise Misconfigured(f"{folder} holds no module {module!r}: apply the project again from its present folder")
    if (other := namesake(Path(folder), module)) is not None:
        name, place = other
        raise Misconfigured(
            f"module {name!r} of {folder} cannot be imported: {place} has this name in this process."
            " Rename the module or its package, so that its name is unique, and apply it again"
        )
    return found


def _on_path(folder: str) -> None:
    """Put a folder before installed packages, and behind the standard library and the folders of other projects.

    A user's `random.py` must not replace the standard one, and a later import must find what an early one would have
    found.
    """
    if folder in sys.path:
        return
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    standard |= {f"{path}/lib-dynload" for path in standard}
    before = standard | _FOLDERS
    sys.path.insert(1 + max((place for place, path in enumerate(sys.path) if path in before), default=-1), folder)
    _FOLDERS.add(folder)


def _attribute(reference: str) -> Any:
    """What `module:attribute` names; the module itself without an attribute."""
    module, _, name = reference.partition(":")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # NB: importing runs the user's module, which may raise anything.
        raise Misconfigured(_why_not_imported(module, error)) from error
    return _got(imported, name, f"{module}:") if name else imported


def _got(imported: ModuleType, name: str, before: str) -> Any:
    """An attribute of a module. `before`: what precedes the name in a reference to it."""
    try:
        return getattr(imported, name)
    except AttributeError:
        others = " or ".join(f"{before}{other}" for other in _projects(imported)[:_NAMED])
        way_out = f"apply {others}" if others else f"a project module ends with `{name} = Project(...)`"
        where = getattr(imported, "__file__", None) or imported.__name__
        raise Misconfigured(f"{where} has no {name!r}; {way_out}") from None


def _why_not_imported(module: str, error: BaseException) -> str:
    """Why an import failed: the user's file and line where his code raised, else how to make the module found."""
    if place_of(error, module) is None:
        if isinstance(error, ImportError):
            return f"cannot import {module!r:.200}: {error}; install the package, or give its folder"
        return f"{module!r:.200} raises while it is imported: {one_line(error)}"
    way_out = "; install it where Headrace runs" if isinstance(error, ModuleNotFoundError) else ""
    return f"{place_and_message(error, module)}{way_out} (while {module!r:.200} is imported)"


def _checked(found: Any, reference: str) -> Project:
    if not isinstance(found, Project):
        raise Misconfigured(f"{reference} is a {type(found).__name__}, not a headrace.project.Project")
    return found
