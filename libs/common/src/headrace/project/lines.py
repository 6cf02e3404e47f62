"""The line of a wrong declaration in a project's source, found by reading the source and not by watching the caller.

A refusal names what it refuses (`view carrier: the window of delay_3h must ...`), and mostly its argument (see
`rules.sentences`). The declaration of that kind and name is looked up in the syntax trees of the project's modules.
From there the search goes inwards, through names that were assigned to parts, also in other modules. Where the refusal
names no argument, the first word of it that is in the declaration gives the line.
"""

import ast
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from headrace import project as sdk
from headrace.project.rules.sentences import Place, Sentence

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


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed file of the project."""

    file: Path
    tree: ast.Module


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of a declaration: its line and its module."""

    node: ast.AST
    line: int
    module: Module

    def __str__(self) -> str:
        return f"{self.module.file}:{self.line}"


def locate(refusal: str, files: Iterable[Path]) -> str | None:
    """`file:line` of what a refusal is about; None when it cannot be found."""
    subject = _SUBJECT.match(refusal)
    if subject is None:
        return None
    kind, plain, quoted = subject.groups()
    name, rest = plain or ast.literal_eval(quoted), refusal[subject.end() :]
    unlisted = _UNLISTED.search(refusal)
    if unlisted is not None:
        kind, name = "project", ""
    modules = list(_read(files))
    declared = _declaration(modules, kind, name)
    if declared is None:
        return None
    places = refusal.places if isinstance(refusal, Sentence) else ()
    if unlisted is not None:
        places = ((unlisted[1],),)
    if places:
        return str(_innermost(modules, declared, places))
    named = re.findall(r"'([^']+)'", rest) + re.findall(r"[\w.]+", rest)
    return f"{declared.module.file}:{_narrowed(declared.node, named)}"


def files_of(module: str) -> list[Path]:
    """The source files of an imported module: its own first, then those imported from its package or folder."""
    own = _file(module)
    if own is None:
        return []
    folder = Path(_file(module.partition(".")[0]) or own).parent
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    if folder in installed:
        return [own]
    loaded = {file for name in tuple(sys.modules) if (file := _file(name)) is not None}
    return [own, *sorted(file for file in loaded if file != own and folder in file.parents)]


def _file(module: str) -> Path | None:
    found = getattr(sys.modules.get(module), "__file__", None)
    return Path(found) if isinstance(found, str) and found.endswith(".py") else None


def _read(files: Iterable[Path]) -> Iterator[Module]:
    for file in files:
        try:
            yield Module(file, _parsed(file.read_bytes()))
        except (OSError, SyntaxError, ValueError):
            continue


@lru_cache(maxsize=256)
def _parsed(source: bytes) -> ast.Module:
    """NB: cached, since many refusals search the same files."""
    return ast.parse(source)


def _declaration(modules: Sequence[Module], kind: str, name: str) -> Spot | None:
    """The call (for a pipeline the function) that declares a name; the only one of its kind where its name is
    computed.
    """
    calls = [
        Spot(node, getattr(node, "lineno", 1), module)
        for module in modules
        for node in ast.walk(module.tree)
        if _is_of(node, kind)
    ]
    if kind == "project" and not name:
        return next(iter(calls), None)
    named = (spot for spot in calls if name in _names(modules, spot))
    computed = [spot for spot in calls if not _names(modules, spot)]
    return next(named, computed[0] if len(computed) == 1 else None)


def _is_of(node: ast.AST, kind: str) -> bool:
    if kind == "pipeline":
        return isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    return isinstance(node, ast.Call) and _called(node) == _CALLS[kind]


def _called(node: ast.Call) -> str:
    """The last part of the called name: `Deployment` of `headrace.project.Deployment(...)`."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _names(modules: Sequence[Module], spot: Spot) -> list[str]:
    """The name that a declaration gives; none where it is computed."""
    if isinstance(spot.node, ast.AsyncFunctionDef | ast.FunctionDef):
        return [spot.node.name]
    found = _step(modules, spot, "name")
    value = None if found is None else _resolved(modules, found).node
    return [value.value] if isinstance(value, ast.Constant) and isinstance(value.value, str) else []


def _innermost(modules: Sequence[Module], declared: Spot, places: Sequence[Place]) -> Spot:
    """The first place that is written in full; where none is (a default), the first one as far as it is written."""
    ways = [_way(modules, declared, place) for place in places]
    whole = (way[-1] for way, place in zip(ways, places, strict=True) if len(way) > len(place))
    return next(whole, ways[0][-1])


def _way(modules: Sequence[Module], declared: Spot, place: Place) -> list[Spot]:
    way = [declared]
    for step in place:
        found = _step(modules, _resolved(modules, way[-1]), step)
        if found is None:
            break
        way.append(found)
    return way


def _step(modules: Sequence[Module], spot: Spot, step: str | int) -> Spot | None:
    """One step inwards: an argument by its name or position, an element of a list by its place or by what it calls, or a
    value of a dict.
    """
    node = spot.node
    match node:
        case ast.AsyncFunctionDef() | ast.FunctionDef():
            calls = [found for found in node.decorator_list if isinstance(found, ast.Call)]
            return _argument(calls[0], str(step), spot.module) if calls else None
        case ast.Call():
            return _argument(node, str(step), spot.module)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if isinstance(step, str):
            found = next((part for part in parts if _is_call_of(part, step)), None)
            return None if found is None else Spot(found, found.lineno, spot.module)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if isinstance(step, int):
            # NB: charts are no detectors: these are counted without them.
            parts = [part for part in parts if not _is_call_of(part, "Charts")]
            before = parts[: step + 1]
            is_certain = len(before) > step and not any(isinstance(part, ast.Starred) for part in before)
            return Spot(parts[step], parts[step].lineno, spot.module) if is_certain else None
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == step:
                    return Spot(value, key.lineno, spot.module)
    return None


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and _called(node) == name


def _argument(call: ast.Call, name: str, module: Module) -> Spot | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return Spot(keyword.value, keyword.lineno, module)
    known = getattr(sdk, _called(call), None)
    names = list(inspect.signature(known).parameters) if callable(known) else []
    if name == "fields" and call.args and isinstance(call.func, ast.Attribute):
        return Spot(ast.List(elts=call.args, ctx=ast.Load()), call.args[0].lineno, module)
    if name not in names or len(call.args) <= names.index(name):
        return None
    found = call.args[names.index(name)]
    return None if isinstance(found, ast.Starred) else Spot(found, found.lineno, module)


def _resolved(modules: Sequence[Module], spot: Spot, most: int = 10) -> Spot:
    """What was assigned to a name, in its own module or another of the project's; the spot itself where it is no
    name.
    """
    if not isinstance(spot.node, ast.Name) or not most:
        return spot
    name = _imported_name(spot.module.tree, spot.node.id)
    for module in sorted(modules, key=lambda module: module is not spot.module):
        for node in module.tree.body:
            if _gives(node, name):
                value = getattr(node, "value", None) or node
                return _resolved(modules, Spot(value, value.lineno, module), most - 1)
    return spot


def _imported_name(tree: ast.Module, name: str) -> str:
    """The name of an import where it comes from: `TRAINING` for `from .parts import TRAINING as HOW`."""
    imported = (found for node in tree.body if isinstance(node, ast.ImportFrom) for found in node.names)
    return next((found.name for found in imported if found.asname == name), name)


def _gives(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        return node.name == name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _narrowed(node: ast.AST, named: list[str]) -> int:
    """The line of the first word of the refusal that is in the declaration, else of the declaration itself."""
    first = getattr(node, "lineno", 1)
    lines = dict(reversed(list(_texts(node))))
    return next((lines[text] for text in named if text in lines and lines[text] != first), first)


def _texts(node: ast.AST) -> Iterator[tuple[str, int]]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value, part.lineno
        elif isinstance(part, ast.keyword) and part.arg:
            yield part.arg, part.value.lineno
        elif isinstance(part, ast.Attribute):
            yield part.attr, part.lineno
