"""`name=value` words of a command line."""

from collections.abc import Sequence

from headrace.errors import Misconfigured


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` words as a dictionary. Raises `Misconfigured` for a word without `=`."""
    for word in words:
        if not word.partition("=")[1]:
            raise Misconfigured(f"{option} takes name=value, got {word!r}")
    return {name: value for name, _, value in (word.partition("=") for word in words)}
