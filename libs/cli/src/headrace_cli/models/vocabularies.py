"""The words of each category of a version: from the model's file, from `--categories`, or, if their order has no meaning, from a sample.

| words in the file        | `--categories`              | then                                                                   |
|--------------------------|-----------------------------|------------------------------------------------------------------------|
| yes                      | not given                   | the file's                                                             |
| yes                      | the same words              | the file's (of a matrix: in the same order, which is their codes)      |
| yes                      | others                      | refused                                                                |
| no                       | given                       | those given                                                            |
| no                       | not given, a frame, a sample| the sample's, sorted: in a frame the order of words has no meaning     |
| no                       | not given                   | refused: every value would be unknown                                  |
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured
from headrace.models.engine import Vocabularies

_EXAMPLE = '{"carrier": ["AA", "UA"]}'
_MOST_LISTED = 8


def read_words(path: Path, data: bytes) -> Vocabularies:
    """The words of a `--categories` file. Raises `Misconfigured` for an invalid one."""
    try:
        declared = json.loads(data, object_pairs_hook=_once)
    except _Twice as twice:
        raise Misconfigured(f"cannot read the categories {path}: it has {twice} twice") from None
    except (ValueError, RecursionError):
        raise Misconfigured(
            f"cannot read the categories {path}: it is not JSON; it holds the values of each category in code order, such as {_EXAMPLE}"
        ) from None
    if not isinstance(declared, dict):
        raise Misconfigured(
            f"cannot read the categories {path}: it holds {_described(declared)}, not the values of each category by its name, such as {_EXAMPLE}"
        )
    return {name: _words(path, name, values) for name, values in declared.items()}


class _Twice(Exception):
    """A name occurs twice in an object, of which JSON's reader would take the last."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _words(path: Path, name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise Misconfigured(
            f"cannot read the categories {path}: the values of {name!r} must be a list of words, got {_described(values)}"
        )
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise Misconfigured(
                f"cannot read the categories {path}: value {place} of {name!r} must be text, got {_described(value)}"
            )
    twice = sorted({value for value in values if values.count(value) > 1}) if len(set(values)) < len(values) else []
    if twice:
        raise Misconfigured(
            f"cannot read the categories {path}: {name!r} has {twice[0]!r} twice: each word has one code"
        )
    if not values:
        raise Misconfigured(
            f"cannot read the categories {path}: {name!r} has no words: every value would be unknown to the model"
        )
    return tuple(values)


def agreed_words(
    categories: Sequence[str],
    known: Vocabularies,
    declared: Vocabularies | None,
    sampled: Mapping[str, set[str]],
    *,
    is_frame: bool,
) -> dict[str, tuple[str, ...]]:
    """The words of each of `categories`, see the table. Raises `Misconfigured`.

    `known`: to the model's file. `declared`: by `--categories`. `sampled`: the words of a sample.
    """
    unknown = [name for name in declared or {} if name not in categories]
    if unknown:
        named = f"the categories are {', '.join(categories)}" if categories else "there is no category among its inputs"
        raise Misconfigured(f"--categories names {unknown[0]!r}, and {named}")
    found = {
        name: _agreed(name, known.get(name), (declared or {}).get(name), sampled.get(name), is_frame)
        for name in categories
    }
    for name, words in found.items():
        asked = sampled.get(name)
        if asked and not asked & set(words):
            raise Misconfigured(
                f"no value of {name!r} in the sample ({_listed(sorted(asked))}) is a word that the model"
                f" knows ({_listed(words)})"
            )
    return found


def _agreed(
    name: str, known: tuple[str, ...] | None, declared: tuple[str, ...] | None, sampled: set[str] | None, is_frame: bool
) -> tuple[str, ...]:
    if known and declared is not None and (set(known) != set(declared) if is_frame else known != declared):
        order = "" if set(known) != set(declared) else ", and their order is their codes"
        raise Misconfigured(
            f"--categories gives {name!r} {_listed(declared)}, the model's file knows {_listed(known)}{order}: leave {name!r} out of it"
        )
    if known or declared:
        return known or declared or ()
    if is_frame and sampled:
        return tuple(sorted(sampled))
    raise Misconfigured(f"the words of {name!r} are not in the model's file: {_way_out(name, bool(sampled), is_frame)}")


def _way_out(name: str, is_sampled: bool, is_frame: bool) -> str:
    example = json.dumps({name: ["...", "..."]})
    if is_frame:
        return f"give a file of requests with --sample FILE, or the words with --categories FILE, which holds {example}"
    more = ", which no sample shows" if is_sampled else ""
    return (
        f"the model sees codes, 0 for the first word{more}; give the words in that order with --categories FILE, which holds"
        f" {example} (--frame for a pipeline that takes words itself)"
    )


def _described(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return json.dumps(value)[:80]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_LISTED]) + (
        f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else ""
    )
