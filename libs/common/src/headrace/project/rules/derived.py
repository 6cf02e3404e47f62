"""Rules of derived columns: their expressions read known columns, are finite, and are not too deep."""

import math
from collections.abc import Iterator
from typing import Any

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Sentence, at

_DEEPEST, _MOST_NODES = 50, 5000
ARITIES = {
    **dict.fromkeys(("+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&", "|", "min", "max"), 2),
    **dict.fromkeys(("~", "is_missing", "floor", "abs", "sqrt", "log", "exp", "sin", "cos"), 1),
    "where": 3,
}
# Operators that take texts; all others compute with numbers.
_OF_TEXTS = ("==", "!=", "is_missing")


def derived_rules(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    """Derived columns have unique names, and read inputs, features, or derived columns declared before them."""
    rule = bounds.count(what, "the number of derived columns", len(found.derived), 0, bounds.MOST_INPUTS)
    yield from at(("derived",), rule)
    kinds = {field.name: field.kind for field in found.inputs}
    views = {view.name: view for view in project.views}
    kinds |= {
        f"{view.name}.{feature.name}": "number"
        for binding in found.features
        if (view := views.get(binding.view)) is not None
        for feature in view.features
    }
    for number, derived in enumerate(found.derived):
        here = ("derived", number)
        yield from at((*here, "name"), bounds.text(what, "a derived column's name", derived.name, 200, 1))
        if derived.name in kinds:
            yield Sentence(f"{what}: derived column {derived.name!r} has the name of another column", (*here, "name"))
        wrong = _wrong_expression(derived.expression, kinds)
        if wrong:
            yield Sentence(f"{what}: derived column {derived.name!r} {wrong}", (*here, "of"))
        kinds[derived.name] = "number"


def _wrong_expression(expression: Any, kinds: dict[str, str]) -> str | None:
    """NB: it does not recurse, since the depth is chosen by whoever wrote the definition."""
    strangers = set[str]()
    waiting: list[tuple[Any, int, str]] = [(expression, 0, "")]
    count = 0
    while waiting:
        term, depth, within = waiting.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_NODES:
            return f"is deeper than {_DEEPEST} or has more than {_MOST_NODES} terms"
        if isinstance(term, str):
            if term not in kinds:
                strangers.add(term[:80])
            elif kinds[term] != "number" and within not in _OF_TEXTS:
                return f"computes with {term!r}, which is a text; compare it with == or !="
        elif isinstance(term, list | tuple):
            wrong = _wrong_call(term, within)
            if wrong:
                return wrong
            if term[0] != "text":
                waiting += [(argument, depth + 1, term[0]) for argument in term[1:]]
        elif isinstance(term, bool) or not isinstance(term, int | float) or not _fits_float(term):
            return f"is made of columns, finite numbers and texts, got {str(term)[:80]!r}"
    known = ", ".join(sorted(kinds))
    return f"reads {sorted(strangers)}; there are {known[:500]}" if strangers else None


def _wrong_call(term: list[Any] | tuple[Any, ...], within: str) -> str | None:
    if not term or not isinstance(term[0], str):
        return "holds a list without an operator"
    if term[0] == "text":
        if len(term) != 2 or not isinstance(term[1], str):
            return "holds a text constant that is not a text"
        return None if within in _OF_TEXTS else f"computes with the text {term[1][:80]!r}; compare it with == or !="
    arity = ARITIES.get(term[0])
    if arity is None:
        return f"uses {term[0][:80]!r}, which this version does not know: upgrade"
    return None if len(term) == arity + 1 else f"gives {len(term) - 1} values to {term[0]!r}, which takes {arity}"


def _fits_float(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
