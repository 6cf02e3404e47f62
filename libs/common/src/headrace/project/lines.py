"""Where in a project's source a wrong declaration stands: found by reading the source, not by watching the caller.

A refusal names what it refuses (`view carrier: the window of delay_3h must ...`). The declaration of that kind and name is
looked up in the package's syntax trees, and within it the part that the refusal names.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_CALLS = {
    "view": "FeatureView",
    "source": "Source",
    "deployment": "Deployment",
    "project": "Project",
    "raw stream": "RawStream",
    "reference": "Reference",
    "derived column": "Derived",
}
_SUBJECT = re.compile(rf"^({'|'.join(_CALLS)}|pipeline) (?:([\w.|-]+)\b|('[^']*'|\"[^\"]*\"))")

_UNLISTED = re.compile(r"is not in the project's (\w+)=")


def locate(refusal: str, files: Iterable[Path]) -> str | None:
    """`file:line` of what a refusal is about; None when it cannot be found."""
    subject = _SUBJECT.match(refusal)
    if subject is None:
        return None
    kind, plain, quoted = subject.groups()
    name = plain or ast.literal_eval(quoted)
    rest = refusal[subject.end() :]
    named = re.findall(r"'([^']+)'", rest) + re.findall(r"[\w.]+", rest)
    unlisted = _UNLISTED.search(refusal)
    if unlisted is not None:
        kind, name, named = "project", "", [unlisted[1]]
    for file in files:
        try:
            tree = ast.parse(file.read_text())
        except (OSError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if _declares(node, kind, name):
                return f"{file}:{_narrowed(node, named)}"
    return None


def files_of(module: str) -> list[Path]:
    """The source files of the package that a module lies in."""
    import importlib.util

    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent
    return sorted(folder.glob("*.py")) if "." in module else [Path(found.origin)]


def _declares(node: ast.AST, kind: str, name: str) -> bool:
    if kind == "pipeline":
        return isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name == name
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != _CALLS[kind]:
        return False
    names = [node.args[0]] if node.args else [keyword.value for keyword in node.keywords if keyword.arg == "name"]
    return (kind == "project" and not name) or any(
        isinstance(found, ast.Constant) and found.value == name for found in names
    )


def _narrowed(node: ast.AST, named: list[str]) -> int:
    """The line of the first word of the refusal that stands in the declaration, else of the declaration itself."""
    first = getattr(node, "lineno", 1)
    lines = dict(reversed(list(_words(node))))
    return next((lines[word] for word in named if word in lines and lines[word] != first), first)


def _words(node: ast.AST) -> Iterator[tuple[str, int]]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value, part.lineno
        elif isinstance(part, ast.keyword) and part.arg:
            yield part.arg, part.value.lineno
        elif isinstance(part, ast.Attribute):
            yield part.attr, part.lineno
