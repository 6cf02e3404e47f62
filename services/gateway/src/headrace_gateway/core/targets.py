"""What a path names: a deployment that the caller may ask, and a version of it that may be previewed."""

import re
from collections.abc import Sequence

from headrace.asking.requests import shown
from headrace_edge.rules.callers import Caller
from headrace_edge.rules.replies import Reply, error_reply

# NB: `str.isdigit` would let in digits that `int` refuses.
_VERSION = re.compile(r"[0-9]{1,9}")


def refuse_caller(caller: Caller, deployment: str) -> Reply | None:
    """The 403 for a deployment that the caller's key is not for; None when it is."""
    if caller.may_ask(deployment):
        return None
    return error_reply(403, f"the key of {caller.name} is not allowed for {shown(deployment)}")


def unknown_deployment(name: str) -> Reply:
    """The 404 for a deployment that no applied project declares."""
    return error_reply(404, f"no model is called {shown(name)}")


def choose_version(deployment: str, given: str | None, loaded: Sequence[int]) -> int | Reply | None:
    """The version that a path asks to preview, None where it names none; the 404 for one that is not among the `loaded`.

    >>> choose_version("delay", "3", [3, 4]), choose_version("delay", None, [])
    (3, None)
    """
    if given is None:
        return None
    if _VERSION.fullmatch(given) and int(given) in loaded:
        return int(given)
    known = ", ".join(map(str, loaded)) or "none"
    return error_reply(404, f"version {shown(given)} of {deployment} is not loaded (loaded: {known})")
