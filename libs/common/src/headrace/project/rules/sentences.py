"""A broken rule: a sentence for people, and the arguments that break it, for whoever looks for the line to change."""

from collections.abc import Iterable, Iterator
from typing import Self

# From a declaration inwards, as it is written: ("monitoring", 0, "figure").
Place = tuple[str | int, ...]


class Sentence(str):
    """A text like any other, and `places`: the arguments of the declaration that it begins with, the likeliest first.

    >>> Sentence("deployment late: embargo is longer than history", ("training", "embargo")).places
    (('training', 'embargo'),)
    """

    __slots__ = ("places",)
    places: tuple[Place, ...]

    def __new__(cls, text: str, *places: Place) -> Self:
        """Of a text, with the arguments that it is about."""
        made = super().__new__(cls, text)
        made.places = places
        return made


def at(place: Place, sentences: Iterable[str]) -> Iterator[Sentence]:
    """The same sentences, about that argument; one that says more exactly where, says so below it."""
    for sentence in sentences:
        inner = sentence.places if isinstance(sentence, Sentence) else ((),)
        yield Sentence(sentence, *((*place, *rest) for rest in inner))
