"""Whether the code of a folder got that folder's modules, since a process has one module of each name.

This is found by reading the source: the requested module, what it imports from its own folder, and so on, also inside
of functions. Names of the standard library are never a folder's own.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


def file_of(folder: Path, module: str) -> Path | None:
    """The file of a module in a folder; None when there is none."""
    place = Path(folder, *module.split("."))
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.exists()), None)


def namesake(folder: Path, module: str) -> tuple[str, str] | None:
    """The first module of `folder` that another file replaces in this process: its name and that file; None when there
    is none.

    The search starts at `module` and follows its imports.
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
    """The file from which a module was loaded, or would be; None for one that does not exist (yet)."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or "another module"
    # NB: with a dotted name this would import its package.
    found = importlib.util.find_spec(name) if "." not in name else None
    return found.origin if found is not None else None


def _is_one(left: Path, right: Path) -> bool:
    return right.exists() and left.samefile(right)


def _imported_by(file: Path) -> Iterator[str]:
    """The names of modules that a file imports. Relative imports are left out, since they stay within the package."""
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
