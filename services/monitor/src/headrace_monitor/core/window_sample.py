"""The sample of a window's decisions as columns, by which its requests can be told apart.

Columns are those of the feature rows by name (a category with the words of its vocabulary), the entities of the views, and
who answered: the version, and the version of the code. Rows of several signatures become one table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, FellBack, Served
from headrace_monitor.core.scored import places_of
from headrace_monitor.core.slices import Columns
from headrace_monitor.core.windows import Rows

Floats = NDArray[np.float64]
CODE, VERSION = "code_version", "version"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a sample. `values`: shape (n,), NaN where there is none; of a category indices into `words`.

    `words`: None for a number.
    """

    name: str
    values: Floats
    words: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Decisions of a window by their instant. `rows`: the place of each in the window's table. `columns`: by name."""

    decisions: tuple[DecisionMade, ...]
    rows: NDArray[np.int64]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.decisions)


def sample_of(
    deployment: DeploymentDefinition, rows: Rows, decisions: Sequence[DecisionMade], signatures: Columns
) -> Sample:
    """The decisions that are rows of a window, as columns. `signatures`: the columns of each, by digest; rows of others have no values."""
    found = zip(places_of(rows, decisions), decisions, strict=True)
    held = sorted(((place, d) for place, d in found if place is not None), key=lambda one: (one[1].at_s, one[0]))
    mine = tuple(decision for _, decision in held)
    columns = [*_of_rows(mine, signatures), *_of_entities(deployment, mine), *_of_producers(mine)]
    return Sample(mine, np.array([place for place, _ in held], dtype=np.int64), {one.name: one for one in columns})


def answered_by(decision: DecisionMade) -> int | None:
    """The version whose score was the answer; None where nothing was answered."""
    answer = decision.answer
    return answer.score.version if isinstance(answer, Served | FellBack) else None


def coded(name: str, texts: Sequence[str | None]) -> Column:
    """A column of texts, None for no value.

    >>> found = coded("carrier", ["UA", None, "AA"])
    >>> found.words, found.values.tolist()
    (('AA', 'UA'), [1.0, nan, 0.0])
    """
    words = tuple(sorted({text for text in texts if text is not None}))
    index = {word: float(place) for place, word in enumerate(words)}
    return Column(name, np.array([np.nan if text is None else index[text] for text in texts]), words)


def _of_rows(decisions: Sequence[DecisionMade], signatures: Columns) -> list[Column]:
    words: dict[str, dict[str, int] | None] = {}
    values: dict[str, Floats] = {}
    by_digest: dict[str, list[int]] = {}
    for place, decision in enumerate(decisions):
        pins = signatures.get(decision.signature)
        if pins is not None and len(decision.row) == 4 * len(pins):
            by_digest.setdefault(decision.signature, []).append(place)
    for digest, places in by_digest.items():
        pins = signatures[digest]
        table = np.frombuffer(b"".join(decisions[place].row for place in places), "<f4").reshape(len(places), len(pins))
        for pin, column in zip(pins, table.T.astype(np.float64), strict=True):
            into = values.setdefault(pin.name, np.full(len(decisions), np.nan))
            if pin.vocabulary is None:
                words.setdefault(pin.name, None)
                into[places] = column
            elif (index := words.setdefault(pin.name, {})) is not None:
                into[places] = _recoded(column, pin.vocabulary, index)
    return [Column(name, column, _in_order(words[name])) for name, column in values.items()]


def _recoded(codes: Floats, vocabulary: Sequence[str], index: dict[str, int]) -> Floats:
    """Codes of one vocabulary as places in `index`, which grows; what is no code of it has no value."""
    places = np.array([index.setdefault(word, len(index)) for word in vocabulary], dtype=np.float64)
    is_known = (codes >= 0) & (codes < len(vocabulary))
    found = np.full(len(codes), np.nan)
    found[is_known] = places[codes[is_known].astype(np.int64)]
    return found


def _in_order(index: dict[str, int] | None) -> tuple[str, ...] | None:
    return None if index is None else tuple(index)


def _of_entities(deployment: DeploymentDefinition, decisions: Sequence[DecisionMade]) -> list[Column]:
    fields = {"|".join(binding.fields): binding.view for binding in deployment.features if binding.fields}
    return [coded(name, [decision.entities.get(view) for decision in decisions]) for name, view in fields.items()]


def _of_producers(decisions: Sequence[DecisionMade]) -> list[Column]:
    versions = [answered_by(decision) for decision in decisions]
    return [
        coded(CODE, [decision.code_version or None for decision in decisions]),
        coded(VERSION, [None if version is None else str(version) for version in versions]),
    ]
