"""An error of the user's code as a message with his file and line, without frames of ours.

The innermost frame of the user's code is the place: deeper frames are of a library that he called, outer frames are
ours. Where he called something of `headrace.project` with arguments that it does not take, the call is parsed and the
message names the argument, with what was probably meant.
"""

import ast
import builtins
import inspect
import itertools
import sys
import sysconfig
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

_OURS = {
    "headrace",
    "headrace_cli",
    "headrace_broker",
    *(f"headrace_{name}" for name in ("gateway", "pipeline", "feature", "inference", "registry", "monitor", "trainer")),
}
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
# Names that people use for arguments, and the arguments' own names.
_SYNONYMS = {
    "fallback_chain": "fallback",
    "delay": "feature_delay",
    "min": "low",
    "max": "high",
    "window": "evaluation_window",
}
_LONGEST = 500
_LONGEST_REASON = 1000


def place_and_message(error: BaseException, own: str = "") -> str:
    """`file:line: message` of what a user's code raised; only the message where no frame of his is known.

    `own`: one of the user's modules. Its package counts as the user's even where it is installed among libraries.
    """
    place = place_of(error, own)
    return f"{place}: {message_of(error, own)}" if place else message_of(error, own)


def place_of(error: BaseException, own: str = "") -> str | None:
    """`file:line` of the user's innermost frame, or of a file that is no valid Python; None where there is none."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"{error.filename}:{error.lineno or 1}"
    found = _innermost(error, own)
    return None if found is None else f"{found.tb_frame.f_code.co_filename}:{found.tb_lineno}"


def message_of(error: BaseException, own: str = "") -> str:
    """An exception in one line of at most 500 characters, with a suggestion of Python's or ours.

    It works even for an exception whose `str` raises.
    """
    try:
        text = _mistaken(error, own) or _python_message(error) + _meant(error, own)
    except BaseException:
        text = f"{type(error).__name__}: (its message cannot be read)"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _python_message(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind}: {error.msg}" + (f": {error.text.strip()}" if error.text else "")
    text = str(error)
    return f"{kind}: {text}" if text else kind


def _meant(error: BaseException, own: str) -> str:
    """A suggestion of a similar name, "" for none.

    NB: Python makes its suggestions when a traceback is printed; they are not part of the exception.
    """
    found = _innermost(error, own)
    if not isinstance(error, NameError | AttributeError) or found is None or error.name is None:
        return ""
    known = dir(error.obj) if isinstance(error, AttributeError) else list(_known_in(found.tb_frame))
    close = get_close_matches(error.name, known, 1)
    return f": did you mean {close[0]!r}?" if close else ""


def _mistaken(error: BaseException, own: str) -> str | None:
    """What is wrong with a call or an import of ours; None for any other error."""
    found = _innermost(error, own)
    if found is None or not isinstance(error, TypeError | ImportError):
        return None
    node = _node_at(found)
    if isinstance(node, ast.Call) and found.tb_next is None:
        called = _resolved(node.func, found.tb_frame)
        return None if called is None else _wrong_call(called, node)
    return _wrong_import(node) if isinstance(node, ast.ImportFrom) else None


def _innermost(error: BaseException, own: str) -> TracebackType | None:
    found, place = None, error.__traceback__
    while place is not None:
        if _is_users(place.tb_frame, own):
            found = place
        place = place.tb_next
    return found


def _is_users(frame: FrameType, own: str) -> bool:
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if own and top == own.partition(".")[0]:
        return True
    file = frame.f_code.co_filename
    return top not in _OURS and not file.startswith("<") and not file.startswith(_INSTALLED)


def _node_at(place: TracebackType) -> ast.AST | None:
    """The smallest call or import that was being executed."""
    code = place.tb_frame.f_code
    line, last, column, end = next(itertools.islice(code.co_positions(), place.tb_lasti // 2, None))
    try:
        tree = ast.parse(Path(code.co_filename).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.ImportFrom) and (
            (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == (line, last, column, end)
        ):
            return node
    return None


def _resolved(node: ast.expr, frame: FrameType) -> Any:
    """The object of `headrace.project` that an expression names in a frame; None for all else."""
    if isinstance(node, ast.Attribute):
        found = getattr(_resolved_name(node.value, frame), node.attr, None)
    else:
        found = _resolved_name(node, frame)
    is_ours = str(getattr(found, "__module__", "")).startswith("headrace.project")
    return found if is_ours and callable(found) else None


def _resolved_name(node: ast.expr, frame: FrameType) -> Any:
    if not isinstance(node, ast.Name):
        return None
    return _known_in(frame).get(node.id)


def _known_in(frame: FrameType) -> dict[str, Any]:
    return {**vars(builtins), **frame.f_globals, **frame.f_locals}


def _wrong_call(called: Any, node: ast.Call) -> str | None:
    name, parameters = called.__name__, list(inspect.signature(called).parameters.values())
    given = [keyword.arg for keyword in node.keywords]
    if None in given or any(isinstance(argument, ast.Starred) for argument in node.args):
        return None
    if any(parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) for parameter in parameters):
        return None
    return next(_complaints(name, parameters, len(node.args), [str(found) for found in given]), None)


def _complaints(name: str, parameters: list[inspect.Parameter], count: int, given: list[str]) -> Iterator[str]:
    names = [parameter.name for parameter in parameters]
    for stranger in given:
        if stranger not in names:
            meant = _SYNONYMS.get(stranger) if _SYNONYMS.get(stranger) in names else None
            close = [meant] if meant else get_close_matches(stranger, names, 1)
            hint = f": did you mean {close[0]!r}? It" if close else "; it"
            yield f"{name} takes no {stranger!r}{hint} takes {', '.join(names)}"
    by_place = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    if count > len(by_place):
        yield f"{name} takes {len(by_place)} arguments by position ({', '.join(by_place)}), got {count}"
    twice = [found for found in by_place[:count] if found in given]
    if twice:
        yield f"{name} got {twice[0]!r} twice, by position and by name"
    missing = [
        parameter.name
        for place, parameter in enumerate(parameters)
        if parameter.default is parameter.empty and parameter.name not in given and place >= count
    ]
    if missing:
        yield f"{name} needs {' and '.join(missing)}; it takes {', '.join(names)}"


def _wrong_import(node: ast.ImportFrom) -> str | None:
    module = sys.modules.get(node.module or "")
    for name in () if module is None else node.names:
        if not hasattr(module, name.name):
            known = getattr(module, "__all__", dir(module))
            close = get_close_matches(name.name, list(known), 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            return f"ImportError: {node.module} has no {name.name!r}{hint}"
    return None


def one_line(error: BaseException) -> str:
    """A foreign exception in one line of at most 1,000 characters. It works even for an exception whose `str` raises.

    >>> one_line(ValueError("no such gate"))
    'ValueError: no such gate'
    """
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be read)"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
