"""Whether every argument of a declaration has its type, by the annotations of the declaration.

Declarations are plain dataclasses, which check nothing. Without this module a wrong argument would fail later, in
Python's words and without a place. A text or number that stands for a duration (`str | float`) is parsed as one.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Real
from typing import Any

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.project.declare import Project
from headrace.project.deployments import Deployment
from headrace.project.pipelines import Pipeline
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Place, Sentence, at
from headrace.project.sources import RawStream, Reference, Source
from headrace.project.views import Aggregation, FeatureView

# Declarations with a name of their own, and what a message calls them.
_SUBJECTS: dict[type, str] = {
    Project: "project",
    Deployment: "deployment",
    Source: "source",
    FeatureView: "view",
    RawStream: "raw stream",
    Reference: "reference",
    Pipeline: "pipeline",
}
_PLAIN = {str: "a text", float: "a number", int: "a whole number", bool: "True or False"}
_CONTAINERS = {"Callable": "a function", "Mapping": "a dict"}
_DURATION = frozenset({str, float})
# How a user writes what is made by a function.
_MEANT = {
    "Binding": "a view bound by its .by(...)",
    "FallbackStep": "previous, baseline or prior(...)",
    "Gate": "beats_prior(...) or not_worse_than_champion(...)",
    "Aggregation": "Count('3h'), Mean('delay', '3h') or the like",
    "OutcomesOf": "outcomes('...')",
    "Pipeline": "a function decorated with @pipeline(...)",
}


def wrong_arguments(project: Project) -> Iterator[Sentence]:
    """The arguments that do not have their type, one sentence each."""
    yield from _of(project, named("project", _name(project)), (), is_own=True)


def is_well_typed(found: Any) -> bool:
    """Whether a declaration of a project, and all within it, has the required types."""
    return type(found) in _SUBJECTS and not any(_of(found, "", (), is_own=True))


def _name(found: Any) -> str:
    name = getattr(found, "name", "")
    return name if isinstance(name, str) else repr(name)[:80]


def _of(found: Any, subject: str, place: Place, *, is_own: bool = False) -> Iterator[Sentence]:
    """The wrong arguments of one declaration, and of those within it."""
    kind = _SUBJECTS.get(type(found))
    if kind is not None and not is_own:
        subject, place = named(kind, _name(found)), ()
    owner = "" if kind else f" of {_called(found, place)}"
    for name, wanted in _arguments(type(found)):
        value, here = getattr(found, name), (*place, name)
        faults = list(_wrong_classes(value) if name == "classes" and _is_list(value) else _wrongs(wanted, value))
        for wrong in faults:
            where = wrong.places if isinstance(wrong, Sentence) else ((),)
            shown = "".join(f"[{step!r:.80}]" for step in where[0])
            yield Sentence(f"{subject}: {name}{shown}{owner} {wrong}", (*here, *where[0]))
        if _is_elsewhere(found, name) or (faults and not _is_list(value)):
            continue
        yield from _within(
            value, subject, here, {wrong.places[0][0] for wrong in faults if isinstance(wrong, Sentence)}
        )


def _called(found: Any, place: Place) -> str:
    """What a message calls a part that has no name of its own."""
    if isinstance(found, Aggregation):
        return str(place[-1])
    return type(found).__name__ + (f" {_name(found)!r:.80}" if hasattr(found, "name") else "")


@cache
def _arguments(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _is_elsewhere(found: Any, name: str) -> bool:
    """Whether an argument holds a declaration that the project lists itself."""
    return not isinstance(found, Project) and name in ("source", "raw", "to", "enrich", "view")


def _within(value: Any, subject: str, place: Place, wrong: Collection[object] = ()) -> Iterator[Sentence]:
    """The wrong arguments within a value, except in the elements at the positions `wrong`."""
    if is_dataclass(value):
        yield from _of(value, subject, place)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _within(part, subject, (*place, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, part in enumerate(value):
            if number not in wrong:
                yield from _within(part, subject, (*place, number))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _wrong_classes(classes: Sequence[Any]) -> Iterator[Sentence]:
    """Class names must be texts, or finite numbers, which have one text each. Outcomes could not name anything else."""
    for number, name in enumerate(classes):
        # NB: numpy's booleans are not numbers for Python.
        is_number = isinstance(name, Real) or type(name).__name__ in ("bool_", "bool")
        if not isinstance(name, str) and not (is_number and math.isfinite(name)):
            yield Sentence(f"must be a text or a whole number, got {_got(name)}", (number,))


def _wrongs(wanted: Any, value: Any) -> Iterator[str]:
    """Why a value is not what is wanted; for a list, one reason per wrong element."""
    lists = [option for option in _options(wanted) if _is_of_parts(option)]
    if len(_options(wanted)) == 1 and lists and _is_list(value):
        inner = typing.get_args(lists[0])[0]
        for number, part in enumerate(value):
            wrong = _why_not(inner, part)
            yield from () if wrong is None else at((number,), [wrong])
        return
    wrong = _why_not(wanted, value)
    yield from () if wrong is None else (wrong,)


def _is_of_parts(option: Any) -> bool:
    origin = typing.get_origin(option)
    return inspect.isclass(origin) and issubclass(origin, Sequence)


def _why_not(wanted: Any, value: Any) -> str | None:
    """Why a value is not what is wanted; None when it is."""
    options = _options(wanted)
    if _DURATION.issubset(options):
        return _why_no_duration(options, value)
    reasons = [_why_none_of(option, value) for option in options]
    if any(reason is None for reason in reasons):
        return None
    is_one = len(set(options) - {type(None)}) == 1
    parts = [reason for reason in reasons if reason and (is_one or isinstance(reason, Sentence))]
    expected = " or ".join(_expected(option) for option in options if option is not type(None))
    return parts[0] if parts else f"must be {expected}, got {_got(value)}"


def _options(wanted: Any) -> tuple[Any, ...]:
    return typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def _why_no_duration(options: tuple[Any, ...], value: Any) -> str | None:
    if value is None and type(None) in options:
        return None
    try:
        seconds(value)
    except Misconfigured as error:
        return f"is no duration: {error}"
    return None


def _why_none_of(option: Any, value: Any) -> str | None:
    """None where the value fits, "" where it has another type, and the reason where a part of a list or dict is
    wrong.
    """
    origin, inner = typing.get_origin(option), typing.get_args(option)
    if origin is Callable or origin is typing.get_origin(Callable[..., Any]):
        return None if callable(value) else ""
    if origin is type:
        return None if isinstance(value, type) and issubclass(value, inner[0]) else ""
    if option is type(None) or option is Any:
        return None if option is Any or value is None else ""
    if origin is not None and issubclass(origin, Mapping):
        return _why_no_mapping(inner, value)
    if origin is not None and issubclass(origin, Sequence):
        return _why_no_list(inner[0], value)
    if option in (int, float):
        is_number = isinstance(value, int | option) and not isinstance(value, bool)
        return None if is_number else ""
    return None if isinstance(value, option) else ""


def _why_no_list(wanted: Any, value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        is_one = _why_not(wanted, value) is None
        shown = repr(value) if isinstance(value, str) else "..."
        return f"must be a list, got {_got(value)}" + (f": put it into brackets, [{shown:.80}]" if is_one else "")
    for number, part in enumerate(value):
        wrong = _why_not(wanted, part)
        if wrong is not None:
            return next(at((number,), [wrong]))
    return None


def _why_no_mapping(inner: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"must be a dict, such as {{'landed_3h': Count('3h')}}, got {_got(value)}"
    for key, part in value.items():
        wrong = _why_not(inner[0], key) or _why_not(inner[1], part)
        if wrong is not None:
            return next(at((key,), [wrong]))
    return None


def _expected(option: Any) -> str:
    if option in _PLAIN:
        return _PLAIN[option]
    if typing.get_origin(option) is type:
        return "a class of msgspec.Struct"
    if option is type(None):
        return "None"
    if typing.get_origin(option) is not None:
        return next((name for kind, name in _CONTAINERS.items() if kind in str(option)), "a list")
    return _MEANT.get(option.__name__, f"{option.__name__}(...)")


def _got(value: Any) -> str:
    """The value as a message shows it, with what was probably meant."""
    if isinstance(value, FeatureView):
        return f"the view itself: write {_name(value)}.by({', '.join(map(repr, _entity(value)))})"
    if inspect.isclass(value) or inspect.isfunction(value):
        is_ours = value.__module__.startswith("headrace.project")
        kind = "class" if inspect.isclass(value) else "function"
        return f"the {kind} {value.__name__}" + (f": write {value.__name__}(...)" if is_ours else "")
    if is_dataclass(value):
        return f"{type(value).__name__}(...)"
    if type(value).__module__ != "builtins":
        return f"{value!r:.80}, which is a {type(value).__module__.partition('.')[0]} {type(value).__name__}"
    return f"{value!r:.80}"


def _entity(view: FeatureView) -> Sequence[str]:
    return (view.entity,) if isinstance(view.entity, str) else view.entity
