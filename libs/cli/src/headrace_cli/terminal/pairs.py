"""`name=value` words of a command line."""

from collections.abc import Sequence

from headrace.errors import Misconfigured


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` words as a dictionary. Raises `Misconfigured` for a word without `=` or without a name, and for two
    values of one name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if not is_pair:
            raise Misconfigured(f"{option} takes name=value, got {word!r}")
        if not name:
            raise Misconfigured(f"{option} takes name=value, got no name before the = of {word!r}")
        if found.setdefault(name, value) != value:
            raise Misconfigured(f"{option} names {name} twice, as {found[name]!r} and as {value!r}: give it once")
    return found
