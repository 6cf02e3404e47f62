"""Whether code of a folder got that folder's modules: a process knows one module of a name, whichever folder brought it first.

Told by reading the source, as far as it leads: the module that was asked for, what it imports of its own folder, and so on, also
inside of functions. The standard library's names are its own.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


def file_of(folder: Path, module: str) -> Path | None:
    """Where a module of a folder is written; None when it is not."""
    place = Path(folder, *module.split("."))
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.exists()), None)


def namesake(folder: Path, module: str) -> tuple[str, str] | None:
    """The first module that an imported one of `folder` has, or leads to, in the stead of the folder's own: its name and where that
    came from. None when all are the folder's.
    """
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        own = file_of(folder, name)
        if name in seen or own is None or name.partition(".")[0] in sys.stdlib_module_names:
            continue
        seen.add(name)
        got = _origin(name)
        if got is not None and not _is_one(own, Path(got)):
            return name, got
        waiting.extend(_imported_by(own))
    return None


def _origin(name: str) -> str | None:
    """Where a module was loaded from, or would be; None for one that is not there (yet)."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or "another module"
    # NB: of a dotted name this would import its package.
    found = importlib.util.find_spec(name) if "." not in name else None
    return found.origin if found is not None else None


def _is_one(left: Path, right: Path) -> bool:
    return right.exists() and left.samefile(right)


def _imported_by(file: Path) -> Iterator[str]:
    """Names of modules, as a file asks for them; what lies in its own package by dots is the package's."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for found in node.names:
                yield found.name.partition(".")[0]
                yield found.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
            yield node.module
            yield from (f"{node.module}.{found.name}" for found in node.names)
