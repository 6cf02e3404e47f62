"""Whether a version serves what its maker says: requests become rows and scores as an instance would make them, and are compared.

| the maker says      | the served row gives            | then                                                 |
|---------------------|---------------------------------|------------------------------------------------------|
| a score             | the same, see `within`          | proven                                               |
| a score             | another one                     | `Unproven`: registered, it would be wrong in silence |
| a score             | an error                        | `Unproven`                                           |
| an error            | whatever it gives               | not compared: the request is not one for this model  |
| an error in all     |                                 | `Unproven`                                           |

Rows are float32. What a request loses by that alone may move a score by `ROUNDED_WITHIN`, no further: trees that were fitted on
float64 may hold a threshold that lies on a value of the data, and would take the other branch. A number may also lie off by a millionth
of the model's median score: what a sum in float32 leaves of terms that cancel out.

Some of the rows are kept with the version (`GoldenRow`), within `headrace.models.golden`: each instance scores them again before it serves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import GoldenRow, Signature
from headrace.features.precision import as_sent, seen
from headrace.features.samples import ROWS, Inputs, Sample, sample, sampled
from headrace.models.engine import BINARY, NUMBER, Engine, Floats, as_served, by_class, load
from headrace.models.frames import frame_of
from headrace.models.golden import KEPT_ROWS, fitting, golden_row, spread
from headrace.models.matching import matched
from headrace.models.numbers import Numbers, as_known, known_numbers, wide_names, with_known, with_wide
from headrace.models.own import own_scores
from headrace.models.proof_words import MOST_TOLD, first_of, told_of, why_lost, why_unlike

WITHIN, ONNX_WITHIN, ROUNDED_WITHIN = 1e-6, 1e-4, 1e-4
# As far outside of 0..1 as an instance lets through, and how far from 1 a graph's float32 probabilities may add up.
_MOST_LOST = 0.05
SHARE_SLACK, ONNX_SLACK = 1e-6, 1e-3

Scorer = Callable[[Sample], Any]


@dataclass(frozen=True)
class Answering:
    """How a version answers. `classes`: how many; `places`: where those of the file stand among them, () where they are the same."""

    signature: Signature
    output: str
    classes: int = 0
    places: tuple[int, ...] = ()

    def read(self, raw: Any) -> Floats:
        """Scores as they are compared, (n, values), in the version's order: of two classes the positive one's."""
        found = by_class(as_served(raw, self.output), self.classes, self.places)
        if self.output == BINARY and found.ndim == 2 and found.shape[1] == 2:
            return found[:, 1:]
        return found.reshape(len(found), -1)


class Unproven(Misconfigured):
    """The file does not serve what its maker says; the message says where, and the way out."""


class TooFine(Unproven):
    """The model needs more digits of a request than a row holds."""


class NoneScored(Unproven):
    """The model itself scores none of the rows that it was asked."""


def within(format: str) -> float:
    """How far a score may lie from the maker's, as a share of it where it is larger than 1.

    >>> within("onnx"), within("skops")
    (0.0001, 1e-06)
    """
    return ONNX_WITHIN if format == "onnx" else WITHIN


def apart(said: Floats, wanted: Floats) -> Floats:
    """The largest distance per row, as a share of what was wanted where that is larger than 1, infinite where one is not a number;
    both (n, values).

    >>> apart(np.array([[0.5], [200.0], [np.nan]]), np.array([[1.0], [100.0], [1.0]])).tolist()
    [0.5, 1.0, inf]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(said - wanted) / np.maximum(1.0, np.abs(wanted))
    return np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(axis=1, initial=0.0)


def prove(
    engine: Engine, answers: Answering, asked: Sample, own: Scorer, format: str, rounded: Scorer | None = None
) -> tuple[GoldenRow, ...]:
    """The rows to keep with a version. Raises `Unproven`.

    `own`: what the maker's model says of requests, as `Engine.predict` does; it may raise. `rounded`: the same of what float32
    holds of them, where that can be told apart.
    """
    wanted, refusals = _each(lambda places: answers.read(own(_part(asked, places))), len(asked.rows))
    said, faults = _each(lambda places: served(engine, answers, asked.rows[places]), len(wanted))
    known = _is_whole(wanted)
    if not known.any():
        raise NoneScored(
            f"the model itself scores none of {len(known)} rows that the contract allows ({first_of(refusals)}):"
            " give some of your own with --sample FILE"
        )
    if said.shape[1] != wanted.shape[1]:
        raise Unproven(f"its file answers {said.shape[1]} values a row, the model itself {wanted.shape[1]}")
    near = within(format)
    gaps = np.where(known, apart(said, wanted), 0.0)
    by_rounding = np.zeros(len(gaps), bool)
    if rounded is not None and (gaps > near).any():
        like, _ = _each(lambda places: answers.read(rounded(_part(asked, places))), len(asked.rows))
        by_rounding |= apart(said, like) <= near
    wrong = (gaps > np.where(by_rounding, ROUNDED_WITHIN, near)) & ~_is_cancelled(said, wanted, known, near)
    if wrong.any():
        wholly = bool(by_rounding[wrong].all())
        told = why_unlike(asked.inputs, said, wanted, np.where(wrong, gaps, 0.0), faults, by_rounding=wholly)
        raise TooFine(told) if wholly else Unproven(told)
    if (told := _why_no_probabilities(engine, answers, asked, known, format)) is not None:
        raise Unproven(told)
    return _kept(engine, answers, asked, said, np.flatnonzero(known & (gaps <= near)))


def _is_cancelled(said: Floats, wanted: Floats, known: NDArray[np.bool_], near: float) -> NDArray[np.bool_]:
    """Where a score lies nearer than such a share of what the model usually says, the median. A model that was fitted on float32 adds up
    in float32: of large terms that cancel out a small score is left, with the rounding of the large ones. A probability is never larger than 1.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(said - wanted).max(axis=1, initial=0.0) <= near * float(
            np.median(np.abs(wanted[known]).max(axis=1))
        )


def prove_file(
    data: bytes, format: str, deployment: DeploymentDefinition, answers: Answering, given: Sequence[Inputs] = ()
) -> tuple[GoldenRow, ...]:
    """The rows to keep with a version of a file. Raises `Unproven`. `given`: a user's own requests, before those that are drawn."""
    signature = answers.signature
    engine = load(data, format)
    numbers = known_numbers(engine, deployment, signature)
    engine = matched(engine, signature)
    is_sent = signature.frame or format == "lightgbm"

    def own(asked: Sample) -> Floats:
        return own_scores(data, format, signature, answers.output, asked.inputs, asked.rows)

    def rounded(asked: Sample) -> Floats:
        return own(replace(asked, inputs=[_as_seen(inputs, is_sent=is_sent) for inputs in asked.inputs]))

    golden: list[GoldenRow] = []
    if given:
        golden += prove(engine, answers, sampled(deployment, signature, given[:ROWS]), own, format, rounded)
    for asked in _drawn(deployment, signature, numbers):
        try:
            golden += prove(engine, answers, asked, own, format, rounded)
        except NoneScored:
            # NB: a model that knows but few of the numbers that the contract allows can be proven by its user's rows, or its own numbers.
            if not golden:
                raise
    if wide := wide_names(deployment):
        drawn = sample(deployment, signature)
        told = replace(drawn, inputs=with_wide(drawn.inputs, deployment))
        _refuse_lost(told, wide, lambda asked: answers.read(own(asked)), lambda asked: answers.read(rounded(asked)))
    return fitting(golden)


def _refuse_lost(asked: Sample, wide: Sequence[str], own: Scorer, rounded: Scorer) -> None:
    """Raise `Unproven` where more than a few scores are other ones for what a row holds of large numbers.

    A few are those beside a tree's limits, which is what rows of float32 are.
    """
    count = len(asked.inputs)
    wanted, _ = _each(lambda places: own(_part(asked, places)), count)
    held, _ = _each(lambda places: rounded(_part(asked, places)), count)
    if wanted.shape != held.shape:
        return
    known = _is_whole(wanted) & _is_whole(held)
    gaps = np.where(known, apart(held, wanted), 0.0)
    if np.count_nonzero(gaps > ROUNDED_WITHIN) > _MOST_LOST * count:
        raise TooFine(why_lost(asked.inputs, held, wanted, gaps, ROUNDED_WITHIN, wide))


def _drawn(deployment: DeploymentDefinition, signature: Signature, numbers: Numbers) -> Iterator[Sample]:
    """Of the numbers that the model itself knows, where there are any, and of all that the contract allows."""
    drawn = sample(deployment, signature)
    if numbers:
        told = with_known(drawn.inputs, numbers)
        yield Sample(told, drawn.features, sampled(deployment, signature, told, drawn.features).rows)
    yield replace(drawn, inputs=as_known(drawn.inputs, numbers))


def _as_seen(inputs: Inputs, *, is_sent: bool) -> Inputs:
    """What a row holds of a request. `is_sent`: as the engine reads it there, see `as_sent`."""
    held = {name: seen(value) for name, value in inputs.items() if isinstance(value, int | float)}
    if is_sent and held:
        held = dict(zip(held, as_sent(np.array(list(held.values()), np.float32)).tolist(), strict=True))
    return {**inputs, **held}


def served(engine: Engine, answers: Answering, rows: NDArray[np.float32]) -> Floats:
    """What an instance would say of `rows`, (n, values)."""
    shaped = frame_of(rows, answers.signature.columns) if answers.signature.frame else rows
    return answers.read(engine.predict(shaped, answers.output))


def _why_no_probabilities(
    engine: Engine, answers: Answering, asked: Sample, known: NDArray[np.bool_], format: str
) -> str | None:
    """Why what it answers is no probability, and would be refused of each request; None where it is, and where numbers are served.

    Shares that do not add up to 1 are some makers' own (LightGBM's one-versus-all); of a graph, of which its user says that they are
    probabilities, nothing else tells them from several numbers.
    """
    if answers.output == NUMBER:
        return None
    rows = asked.rows[known]
    shaped = frame_of(rows, answers.signature.columns) if answers.signature.frame else rows
    raw = as_served(engine.predict(shaped, answers.output), answers.output)
    wrong = ((raw < -SHARE_SLACK) | (raw > 1 + SHARE_SLACK)).any(axis=1)
    if format == "onnx":
        wrong |= np.abs(raw.sum(axis=1) - 1) > ONNX_SLACK
    if not wrong.any():
        return None
    worst = int(np.flatnonzero(wrong)[np.abs(raw[wrong] - 0.5).max(axis=1, initial=0.0).argmax()])
    told = ", ".join(f"{value:.6g}" for value in raw[worst][:8])
    return (
        f"{np.count_nonzero(wrong)} of {len(raw)} rows get no probabilities (0..1, adding up to 1): of"
        f" {told_of(asked.inputs[int(np.flatnonzero(known)[worst])])} the model says {told}; is it a margin, or a regression? Train it with an"
        " objective that gives probabilities, or declare the label as a number"
    )


def _part(asked: Sample, places: NDArray[np.intp]) -> Sample:
    return Sample([asked.inputs[place] for place in places], asked.features[places], asked.rows[places])


def _each(score: Callable[[NDArray[np.intp]], Any], count: int) -> tuple[Floats, dict[int, str]]:
    """Scores of all rows, (count, values), NaN where it raises, and why there. All at once where it can."""
    try:
        found = score(np.arange(count))
    except MemoryError:
        raise
    except Exception:
        # NB: a model is foreign code, and so is what it raises: row by row, to see for which.
        return _one_by_one(score, count)
    if len(found) != count:
        raise Unproven(f"the model answers {len(found)} values for {count} rows: only one answer a row can be served")
    return found, {}


def _one_by_one(score: Callable[[NDArray[np.intp]], Any], count: int) -> tuple[Floats, dict[int, str]]:
    found: list[Floats | None] = []
    faults: dict[int, str] = {}
    for place in range(count):
        try:
            found.append(score(np.array([place]))[0])
        except MemoryError:
            raise
        except Exception as error:
            # NB: as above.
            found.append(None)
            faults[place] = f"{type(error).__name__}: {error}"[:MOST_TOLD]
    width = max((len(values) for values in found if values is not None), default=1)
    return np.array([np.full(width, np.nan) if values is None else values for values in found]).reshape(
        count, width
    ), faults


def _is_whole(scores: Floats) -> NDArray[np.bool_]:
    """Per row whether all its values are numbers."""
    return np.logical_and.reduce(np.isfinite(scores), axis=1)


def _kept(
    engine: Engine, answers: Answering, asked: Sample, said: Floats, proven: NDArray[np.intp]
) -> tuple[GoldenRow, ...]:
    """Rows from all over, with their requests, that score the same alone as beside others: a tie is nobody's proof."""
    golden = [
        golden_row(asked.rows[place], said[place], answers.output, dict(asked.inputs[place]))
        for place in proven[spread(len(proven), KEPT_ROWS)]
        if _is_same_alone(engine, answers, asked.rows[place], said[place])
    ]
    return fitting(golden)


def _is_same_alone(engine: Engine, answers: Answering, row: NDArray[np.float32], said: Floats) -> bool:
    alone, faults = _each(lambda _: served(engine, answers, row.reshape(1, -1)), 1)
    return not faults and bool(apart(alone, said.reshape(1, -1))[0] <= WITHIN)
