"""Load checks: whether a version serves what its model computes. Requests become rows and scores as in service.

| the model itself    | the served row                  | then                                                 |
|---------------------|---------------------------------|------------------------------------------------------|
| a score             | the same, see `within`          | proven                                               |
| a score             | another one                     | `Unproven`: it would be served wrongly               |
| a score             | an error                        | `Unproven`                                           |
| an error            | anything                        | not compared: this model does not take the request   |
| an error in all     |                                 | `Unproven`                                           |

Rows are float32. Rounding alone may change a score by at most `ROUNDED_WITHIN`: a tree that was fitted on float64 may
have a threshold on a value of the data, and would then take the other branch. A number may also differ by a millionth
of the model's median score, which is what a sum in float32 leaves of terms that cancel.

Some of the rows are kept with the version (`GoldenRow`), see `headrace.models.golden`. Each instance scores them again
before it serves the version.
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
from headrace.models.proof_messages import MOST_CHARACTERS, first_of, inputs_text, why_lost, why_unlike

WITHIN, ONNX_WITHIN, ROUNDED_WITHIN = 1e-6, 1e-4, 1e-4
# How far outside of 0..1 an instance lets a score be, and how far from 1 a graph's float32 probabilities may add up.
_MOST_LOST = 0.05
SHARE_SLACK, ONNX_SLACK = 1e-6, 1e-3

Scorer = Callable[[Sample], Any]


@dataclass(frozen=True)
class Answering:
    """How a version answers. `classes`: their number; `places`: where those of the file are among them, () for the
    same.
    """

    signature: Signature
    output: str
    classes: int = 0
    places: tuple[int, ...] = ()

    def read(self, raw: Any) -> Floats:
        """Scores for comparison, (n, values), in the version's order; for two classes only that of the positive one."""
        found = by_class(as_served(raw, self.output), self.classes, self.places)
        if self.output == BINARY and found.ndim == 2 and found.shape[1] == 2:
            return found[:, 1:]
        return found.reshape(len(found), -1)


class Unproven(Misconfigured):
    """The file is not served as its model computes. The message names the place and the way out."""


class TooFine(Unproven):
    """The model needs more digits of a request than a row holds."""


class NoneScored(Unproven):
    """The model itself scores none of the rows."""


def within(format: str) -> float:
    """How far a score may be from the model's own, relative to it where it is larger than 1.

    >>> within("onnx"), within("skops")
    (0.0001, 1e-06)
    """
    return ONNX_WITHIN if format == "onnx" else WITHIN


def apart(given_scores: Floats, wanted: Floats) -> Floats:
    """The largest distance per row, relative to the wanted score where that is larger than 1; infinite for NaN.

    Both arrays have shape (n, values).

    >>> apart(np.array([[0.5], [200.0], [np.nan]]), np.array([[1.0], [100.0], [1.0]])).tolist()
    [0.5, 1.0, inf]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(given_scores - wanted) / np.maximum(1.0, np.abs(wanted))
    return np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(axis=1, initial=0.0)


def prove(
    engine: Engine, answers: Answering, asked: Sample, own: Scorer, format: str, rounded: Scorer | None = None
) -> tuple[GoldenRow, ...]:
    """The rows to keep with a version. Raises `Unproven`.

    `own`: the model's own scores of requests, in the shape of `Engine.predict`; it may raise. `rounded`: the same for
    the float32 of the requests, where that can be computed.
    """
    wanted, refusals = _each(lambda places: answers.read(own(_part(asked, places))), len(asked.rows))
    got, faults = _each(lambda places: served(engine, answers, asked.rows[places]), len(wanted))
    known = _is_whole(wanted)
    if not known.any():
        raise NoneScored(
            f"the model itself scores none of {len(known)} rows that the contract allows ({first_of(refusals)}):"
            " give some of your own with --sample FILE"
        )
    if got.shape[1] != wanted.shape[1]:
        raise Unproven(f"its file answers {got.shape[1]} values a row, the model itself {wanted.shape[1]}")
    near = within(format)
    gaps = np.where(known, apart(got, wanted), 0.0)
    by_rounding = np.zeros(len(gaps), bool)
    if rounded is not None and (gaps > near).any():
        like, _ = _each(lambda places: answers.read(rounded(_part(asked, places))), len(asked.rows))
        by_rounding |= apart(got, like) <= near
    wrong = (gaps > np.where(by_rounding, ROUNDED_WITHIN, near)) & ~_is_cancelled(got, wanted, known, near)
    if wrong.any():
        wholly = bool(by_rounding[wrong].all())
        problem = why_unlike(asked.inputs, got, wanted, np.where(wrong, gaps, 0.0), faults, by_rounding=wholly)
        raise TooFine(problem) if wholly else Unproven(problem)
    if (problem := _why_no_probabilities(engine, answers, asked, known, format)) is not None:
        raise Unproven(problem)
    return _kept(engine, answers, asked, got, np.flatnonzero(known & (gaps <= near)))


def _is_cancelled(got: Floats, wanted: Floats, known: NDArray[np.bool_], near: float) -> NDArray[np.bool_]:
    """Where a score differs by less than such a share of the model's median score.

    A model that was fitted on float32 adds in float32. When large terms cancel, the small result has the rounding of
    the large ones. A probability is never larger than 1.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(got - wanted).max(axis=1, initial=0.0) <= near * float(
            np.median(np.abs(wanted[known]).max(axis=1))
        )


def prove_file(
    data: bytes, format: str, deployment: DeploymentDefinition, answers: Answering, given: Sequence[Inputs] = ()
) -> tuple[GoldenRow, ...]:
    """The rows to keep with a version of a file. Raises `Unproven`. `given`: a user's own requests, used before random
    ones.
    """
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
            # NB: a model may know only few of the allowed numbers. Then the user's rows, or its own numbers, suffice.
            if not golden:
                raise
    if wide := wide_names(deployment):
        drawn = sample(deployment, signature)
        wide_sample = replace(drawn, inputs=with_wide(drawn.inputs, deployment))
        _refuse_lost(
            wide_sample, wide, lambda asked: answers.read(own(asked)), lambda asked: answers.read(rounded(asked))
        )
    return fitting(golden)


def _refuse_lost(asked: Sample, wide: Sequence[str], own: Scorer, rounded: Scorer) -> None:
    """Raise `Unproven` where more than a few scores change because a row holds fewer digits of large numbers.

    A few changes are expected at a tree's thresholds, since rows are float32.
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
    """Requests with the numbers that the model itself knows, where there are any, and with all that the contract
    allows.
    """
    drawn = sample(deployment, signature)
    if numbers:
        known_inputs = with_known(drawn.inputs, numbers)
        yield Sample(known_inputs, drawn.features, sampled(deployment, signature, known_inputs, drawn.features).rows)
    yield replace(drawn, inputs=as_known(drawn.inputs, numbers))


def _as_seen(inputs: Inputs, *, is_sent: bool) -> Inputs:
    """A request as a row holds it. `is_sent`: as the engine reads it there, see `as_sent`."""
    held = {name: seen(value) for name, value in inputs.items() if isinstance(value, int | float)}
    if is_sent and held:
        held = dict(zip(held, as_sent(np.array(list(held.values()), np.float32)).tolist(), strict=True))
    return {**inputs, **held}


def served(engine: Engine, answers: Answering, rows: NDArray[np.float32]) -> Floats:
    """What an instance would answer for `rows`, (n, values)."""
    shaped = frame_of(rows, answers.signature.columns) if answers.signature.frame else rows
    return answers.read(engine.predict(shaped, answers.output))


def _why_no_probabilities(
    engine: Engine, answers: Answering, asked: Sample, known: NDArray[np.bool_], format: str
) -> str | None:
    """Why the answers are not probabilities, which every request would refuse; None where they are, and for numbers.

    Some makers' probabilities do not add up to 1 (LightGBM's one-versus-all). For a graph, whose user states that they
    are probabilities, nothing else distinguishes them from several numbers.
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
    values = ", ".join(f"{value:.6g}" for value in raw[worst][:8])
    return (
        f"{np.count_nonzero(wrong)} of {len(raw)} rows get no probabilities (0..1, adding up to 1): of"
        f" {inputs_text(asked.inputs[int(np.flatnonzero(known)[worst])])} the model gives {values}; is it a margin, or a regression? Train it with an"
        " objective that gives probabilities, or declare the label as a number"
    )


def _part(asked: Sample, places: NDArray[np.intp]) -> Sample:
    return Sample([asked.inputs[place] for place in places], asked.features[places], asked.rows[places])


def _each(score: Callable[[NDArray[np.intp]], Any], count: int) -> tuple[Floats, dict[int, str]]:
    """Scores of all rows, (count, values), NaN where the model raises, with the reasons. All at once where possible."""
    try:
        found = score(np.arange(count))
    except MemoryError:
        raise
    except Exception:
        # NB: a model is foreign code and may raise anything. Row by row shows for which rows.
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
            faults[place] = f"{type(error).__name__}: {error}"[:MOST_CHARACTERS]
    width = max((len(values) for values in found if values is not None), default=1)
    return np.array([np.full(width, np.nan) if values is None else values for values in found]).reshape(
        count, width
    ), faults


def _is_whole(scores: Floats) -> NDArray[np.bool_]:
    """Whether all values of a row are finite."""
    return np.logical_and.reduce(np.isfinite(scores), axis=1)


def _kept(
    engine: Engine, answers: Answering, asked: Sample, got: Floats, proven: NDArray[np.intp]
) -> tuple[GoldenRow, ...]:
    """Evenly spaced rows, with their requests, that score the same alone as in a batch. Ties prove nothing."""
    golden = [
        golden_row(asked.rows[place], got[place], answers.output, dict(asked.inputs[place]))
        for place in proven[spread(len(proven), KEPT_ROWS)]
        if _is_same_alone(engine, answers, asked.rows[place], got[place])
    ]
    return fitting(golden)


def _is_same_alone(engine: Engine, answers: Answering, row: NDArray[np.float32], got: Floats) -> bool:
    alone, faults = _each(lambda _: served(engine, answers, row.reshape(1, -1)), 1)
    return not faults and bool(apart(alone, got.reshape(1, -1))[0] <= WITHIN)
