"""Versions made of a champion's own scores, to simulate rollouts with: the same one, worse and broken ones.

    kind     a score                               noise is added to    flipped           squared
    binary   probability of the positive class     its log-odds         1 - p             p^2
    classes  a probability per class               their logarithms     1 - p, scaled     p^2, scaled
    number   the number, scaled to the range 0..1  the number           1 - the number    -

Failed scores (NaN) stay failed.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.stats.losses import BINARY, NUMBER
from headrace.stats.ranking import Ranked, Rows, ranked, sampled
from headrace.stats.scores import differences

Floats = NDArray[np.float64]

JITTER = 0.01
_LEAST = 1e-9
_MOST_NOISE = 64.0
_STEPS = 40
# How many requests are ranked, against the rows of so many parts of the record.
_RANKED, _PARTS = 2_000, 30


def noisy(kind: str, scores: ArrayLike, noise: ArrayLike) -> Floats:
    """Scores with noise, in the same shape.

    >>> noisy("binary", [0.5, 0.5], [0.0, 1.0]).round(3).tolist()
    [0.5, 0.731]
    """
    found, added = np.asarray(scores, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    if kind == NUMBER:
        return np.clip(found + added, 0.0, 1.0)
    if kind == BINARY:
        inner = np.clip(found, _LEAST, 1 - _LEAST)
        return 1 / (1 + (1 - inner) / inner * np.exp(-added))
    logs = np.log(np.clip(found, _LEAST, 1.0)) + added
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def jittered(kind: str, scores: ArrayLike, rng: np.random.Generator) -> Floats:
    """A twin that differs in nothing but noise that is too small to matter."""
    found = np.asarray(scores, dtype=np.float64)
    return noisy(kind, found, JITTER * rng.standard_normal(found.shape))


def with_noise(
    kind: str, scores: ArrayLike, labels: ArrayLike, target_difference: float, rng: np.random.Generator
) -> Floats:
    """Scores with as much noise as makes the mean bounded score worse by the target.

    Raises ValueError where no noise does: a champion that is hardly better than noise cannot lose much.
    """

    def lost(changed: Floats) -> float:
        return float(differences(kind, changed, scores, labels).seen.mean())

    return _worse(kind, np.asarray(scores, dtype=np.float64), lost, target_difference, rng)


def with_less_skill(kind: str, scores: ArrayLike, labels: ArrayLike, share: float, rng: np.random.Generator) -> Floats:
    """Scores with as much noise as loses this share (0..1) of the skill of the ranking: of AUC or concordance - 1/2.

    Raises ValueError where no noise does.
    """
    found = np.asarray(scores, dtype=np.float64)

    def lost(changed: Floats) -> float:
        return skill_lost(kind, changed, found, labels)

    return _worse(kind, found, lost, share, rng)


def skill_lost(kind: str, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> float:
    """The share of the control's skill that a version has lost over a whole record, in request order; negative where it
    is better. 0 where the control has none.

    >>> p, y = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 0, 1])
    >>> skill_lost("binary", p, p, y), skill_lost("binary", 1 - p, p, y)
    (0.0, 2.0)
    """
    found = _ranked(kind, new, control, labels)
    skill = float(found.weight @ found.skill)
    return float(found.weight @ found.loss) / skill if skill > 0 else 0.0


def skill_of(kind: str, control: ArrayLike, labels: ArrayLike) -> float:
    """The skill of a champion's ranking over a whole record: AUC or concordance - 1/2; 0 where nothing can be compared.

    >>> skill_of("binary", [0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1])
    0.25
    """
    found = _ranked(kind, control, control, labels)
    return float(found.weight @ found.skill) / float(found.weight.sum()) if len(found.weight) else 0.0


def _ranked(kind: str, new: ArrayLike, control: ArrayLike, labels: ArrayLike) -> Ranked:
    """Requests of a whole record, ranked among rows of all its parts."""
    truth = np.asarray(labels, dtype=np.float64)
    ours, theirs = np.asarray(new, dtype=np.float64), np.asarray(control, dtype=np.float64)
    classes = theirs.shape[1] if theirs.ndim == 2 else 2
    reference = [
        sampled(kind, _rows(kind, ours[part], theirs[part], truth[part], classes))
        for part in np.array_split(np.arange(len(truth)), _PARTS)
        if len(part)
    ]
    chosen = np.unique(np.linspace(0, max(len(truth) - 1, 0), _RANKED).astype(np.int64))[: len(truth)]
    return ranked(kind, _rows(kind, ours[chosen], theirs[chosen], truth[chosen], classes), reference)


def shuffled(scores: ArrayLike, rng: np.random.Generator) -> Floats:
    """The same scores, given to other requests: a ranking by chance."""
    return rng.permutation(np.asarray(scores, dtype=np.float64), axis=0)


def flipped(kind: str, scores: ArrayLike) -> Floats:
    """Scores turned around: a ranking in the wrong order."""
    found = np.asarray(scores, dtype=np.float64)
    return 1 - found if kind in (BINARY, NUMBER) else (1 - found) / (found.shape[1] - 1)


def squared(kind: str, scores: ArrayLike) -> Floats:
    """Probabilities that are too low, or too sure of the likeliest class: the order stays, the level does not.

    Raises ValueError for numbers, which are no probabilities.
    """
    if kind == NUMBER:
        raise ValueError("numbers are no probabilities: there is no square to take; leave this variant out")
    found = np.asarray(scores, dtype=np.float64) ** 2
    return found if kind == BINARY else found / found.sum(axis=1, keepdims=True)


def _rows(kind: str, new: Floats, control: Floats, labels: Floats, classes: int) -> Rows:
    counts = [float(len(labels))] if kind == NUMBER else np.bincount(labels.astype(np.int64), minlength=classes)
    return Rows(0, new, control, labels, np.asarray(counts, dtype=np.float64))


def _worse(
    kind: str, scores: Floats, lost: Callable[[Floats], float], target: float, rng: np.random.Generator
) -> Floats:
    """The scores with the amount of noise, found by halving, at which so much is lost."""
    noise = rng.standard_normal(scores.shape)
    low, high = 0.0, 1.0
    while lost(noisy(kind, scores, high * noise)) < target:
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise ValueError(f"no noise makes these scores worse by {target:g}; they are hardly better than noise")
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if lost(noisy(kind, scores, middle * noise)) < target else (low, middle)
        if high - low < 1e-3 * high:
            break
    return noisy(kind, scores, high * noise)
