"""Merge patches between two documents: RFC 7396 (formerly 7386), the least that turns one into the other.

In a merge patch null deletes, so a member that is null and a member that is absent are the same document. Lists are
replaced as a whole.
"""

from typing import Any

Json = Any


def patch(before: dict[str, Json], after: dict[str, Json]) -> dict[str, Json]:
    """The merge patch from `before` to `after`; {} when they are the same document.

    >>> patch({"a": 1, "b": {"c": 1, "d": 2}}, {"a": 1, "b": {"c": 3}})
    {'b': {'c': 3, 'd': None}}
    """
    found: dict[str, Json] = {}
    for name, new in after.items():
        old = before.get(name)
        # NB: rows that were not computed again are the same objects, and are not walked.
        if new is old:
            continue
        if isinstance(new, dict) and isinstance(old, dict):
            inner = patch(old, new)
            if inner:
                found[name] = inner
        elif new != old or type(new) is not type(old):
            found[name] = new
    for name, old in before.items():
        if old is not None and name not in after:
            found[name] = None
    return found


def apply(change: Json, value: Json) -> Json:
    """The document that a merge patch makes of `value`, which is left as it is: the algorithm of RFC 7396, section 2.

    >>> apply({"a": None, "b": {"c": 2}}, {"a": 1, "b": {"d": 3}})
    {'b': {'d': 3, 'c': 2}}
    """
    if not isinstance(change, dict):
        return change
    made = dict(value) if isinstance(value, dict) else {}
    for name, new in change.items():
        if new is None:
            made.pop(name, None)
        else:
            made[name] = apply(new, made.get(name))
    return made
