"""A broken rule: a sentence for people, and the arguments that break it, by which the line is found."""

from collections.abc import Iterable, Iterator
from typing import Self

# The path from a declaration inwards, as it is written: ("monitoring", 0, "figure").
Place = tuple[str | int, ...]


class Sentence(str):
    """A text with `places`: the arguments concerned within the declaration that it names, the likeliest first.

    >>> Sentence("deployment late: embargo is longer than history", ("training", "embargo")).places
    (('training', 'embargo'),)
    """

    __slots__ = ("places",)
    places: tuple[Place, ...]

    def __new__(cls, text: str, *places: Place) -> Self:
        """Make a sentence from a text and the arguments concerned."""
        made = super().__new__(cls, text)
        made.places = places
        return made


def at(place: Place, sentences: Iterable[str]) -> Iterator[Sentence]:
    """The same sentences, about the argument at `place`. Their own places are taken as relative to it."""
    for sentence in sentences:
        inner = sentence.places if isinstance(sentence, Sentence) else ((),)
        yield Sentence(sentence, *((*place, *rest) for rest in inner))
