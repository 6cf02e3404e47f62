"""How well a version probably does in a window whose labels have not come: from its scores, and from what earlier scores meant.

**Classes (CBPE).** Confidence-based performance estimation (NannyML; Bialek et al. 2024, "Estimating model performance under
covariate shift without labels"): scores are calibrated on labelled closed windows, and a metric is what it is expected to be if each
label is drawn by its calibrated probability. Calibration is isotonic (Zadrozny and Elkan 2002) over bins of half a unit of the
log-odds, each class against the rest, normalised. Bins of few rows are drawn to the score itself by `PSEUDO` rows.

**Numbers (DLE).** Direct loss estimation (NannyML): the absolute and the squared error to be expected are regressed on the
score, as means over bins of its quantiles, drawn to the mean of all bins.

**Bounds of 90 %.** The distance between estimate and realised metric has two parts. One is the labels' chance, whose variance follows
from the calibrated probabilities as if rows were independent. They are not (a storm), and what scores mean changes: the
other part is measured, as the errors of past estimates. Errors are divided by their scale, the root of both variances. The bounds
are the 5 % and 95 % quantiles of these scaled errors, in which newer errors weigh more (as in Barber, Candes, Ramdas,
Tibshirani 2023, "Conformal prediction beyond exchangeability"), together with `NORMAL` quantiles of a normal distribution, which
carry them while few errors are known. An error is that of a whole window: rows of one window may depend on each other in any
way. Coverage is that of windows like the recent ones, and of no others; it is measured in `make bench ONLY=estimates`.

Both are blind to a change of what scores mean (concept drift) until labels show it. So an estimate is never a verdict.
What is remembered of a version is a table of sums and the newest errors, whatever the number of rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from headrace.stats.losses import BINARY, CLASSES, NUMBER

Floats = NDArray[np.float64]

CBPE, DLE = "cbpe", "dle"
# Chosen on scores of February and March of the flights.
FADES = 0.97
ERRORS_FADE = 0.98
NORMAL = 20
PSEUDO = 4.0
MOST_ERRORS = 60
# With fewer labelled rows or windows of a version, or fewer errors of past estimates, nothing is estimated.
LEAST_ROWS, LEAST_WINDOWS, LEAST_ERRORS = 500.0, 5, 5
# With fewer requests in a window there is no estimate of it; with fewer labels of a class none of the AUC.
LEAST_REQUESTS, LEAST_OF_CLASS = 10, 10.0
MOST_CLASSES = 20
TAIL = 0.05

_STEP, _REACH = 0.5, 12.0
BINS = int(2 * _REACH / _STEP)
_QUANTILES = 16
# Sums of a bin: rows, log-odds and labels of classes; rows, |error|, error squared and to the fourth of numbers.
_CLASS_SUMS, _NUMBER_SUMS = 3, 4
_EPS = 1e-12
_NORMAL = [NormalDist().inv_cdf((place + 0.5) / NORMAL) for place in range(NORMAL)]


@dataclass(frozen=True, slots=True)
class Expected:
    """A metric without labels: its expected value, and its standard error by the chance of independent labels."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Bounded:
    """An estimate with its bounds of 90 %."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Experience:
    """What closed windows showed of one version.

    `sums`: faded sums per bin, shape (classes or 1, bins, sums of a bin). `edges`: the inner edges of a number's bins. `rows`: faded
    labelled rows; `windows`: how many. `errors`: per metric the newest errors of estimates, oldest first, and the standard
    error of each by chance, shape (n, 2).
    """

    kind: str
    sums: Floats
    edges: Floats = field(default_factory=lambda: np.empty(0))
    rows: float = 0.0
    windows: int = 0
    errors: Mapping[str, Floats] = field(default_factory=dict)


def experience_of(kind: str, classes: int = 2) -> Experience:
    """Nothing is known of a version yet. `classes`: how many a label of kind `classes` has, at most `MOST_CLASSES`."""
    if kind == NUMBER:
        return Experience(kind, np.zeros((1, _QUANTILES, _NUMBER_SUMS)))
    return Experience(kind, np.zeros((classes if kind == CLASSES else 1, BINS, _CLASS_SUMS)))


def learnt(experience: Experience, scores: Floats, labels: Floats) -> Experience:
    """The experience with the labelled rows of one more closed window; older ones fade.

    `scores`: shape (n,), of several classes (n, classes). `labels`: (n,), places of classes or numbers.
    """
    if not len(labels):
        return experience
    edges = experience.edges
    if experience.kind == NUMBER:
        if not len(edges):
            edges = np.unique(np.quantile(scores, np.linspace(0, 1, _QUANTILES + 1)[1:-1]))
        off = np.abs(scores - labels)
        new = _sums(np.searchsorted(edges, scores), _QUANTILES, (np.ones(len(off)), off, off**2, off**4))[None]
    else:
        columns, truths = _one_against_rest(experience, scores, labels)
        new = np.stack([_class_sums(column, truth) for column, truth in zip(columns, truths, strict=True)])
    return replace(
        experience,
        sums=FADES * experience.sums + new,
        edges=edges,
        rows=FADES * experience.rows + len(labels),
        windows=experience.windows + 1,
    )


def why_not(experience: Experience, requests: int) -> str:
    """Why a window of so many requests cannot be estimated yet, as the end of a sentence; "" when it can."""
    if experience.rows < LEAST_ROWS or experience.windows < LEAST_WINDOWS:
        have = f"{experience.rows:,.0f} labelled rows in {experience.windows} closed windows"
        return f"has {have}: {LEAST_ROWS:.0f} in {LEAST_WINDOWS} are needed to calibrate its scores"
    if requests < LEAST_REQUESTS:
        return f"has {requests} requests: {LEAST_REQUESTS} are needed"
    found = min((len(errors) for errors in experience.errors.values()), default=0)
    if found < LEAST_ERRORS:
        return f"has {found} windows with an estimate beside its labels: {LEAST_ERRORS} are needed for bounds"
    return ""


def expected(experience: Experience, scores: Floats) -> dict[str, Expected]:
    """The metrics to be expected of these requests, by name; {} where too little is known of the version.

    Of classes `auc`, `log_loss`, `brier` and `accuracy`, of numbers `mae` and `rmse`.
    """
    if experience.rows < LEAST_ROWS or experience.windows < LEAST_WINDOWS or len(scores) < LEAST_REQUESTS:
        return {}
    if experience.kind == NUMBER:
        return _dle(experience, scores)
    return _cbpe_two(experience, scores) if experience.kind == BINARY else _cbpe_many(experience, scores)


def bounded(experience: Experience, name: str, found: Expected) -> Bounded | None:
    """An expected metric with its bounds; None while fewer than `LEAST_ERRORS` past errors of it are known."""
    errors = experience.errors.get(name)
    if errors is None or len(errors) < LEAST_ERRORS:
        return None
    low, high = _quantiles(errors, found.error)
    value = found.value
    return Bounded(value, found.error, *_within(name, value + min(low, 0.0), value + max(high, 0.0)))


def noted(experience: Experience, name: str, found: Expected, realised: float) -> Experience:
    """The experience with the error of one more estimate, once its labels came."""
    before = experience.errors.get(name, np.empty((0, 2)))
    errors = np.vstack([before, [[realised - found.value, found.error]]])[-MOST_ERRORS:]
    return replace(experience, errors={**experience.errors, name: errors})


def calibrated(experience: Experience, scores: Floats) -> Floats:
    """Calibrated probabilities: of two classes of the positive one, shape (n,); of several (n, classes), rows adding up to 1."""
    if experience.kind == BINARY:
        return _calibrated(experience.sums[0], scores)
    each = np.stack([_calibrated(sums, scores[:, place]) for place, sums in enumerate(experience.sums)], axis=1)
    return each / each.sum(axis=1, keepdims=True)


# Calibration


def _log_odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, _EPS, 1 - _EPS)
    return np.clip(np.log(clipped) - np.log1p(-clipped), -_REACH, _REACH)


def _one_against_rest(experience: Experience, scores: Floats, labels: Floats) -> tuple[list[Floats], list[Floats]]:
    if experience.kind == BINARY:
        return [scores], [labels]
    places = range(len(experience.sums))
    return [scores[:, place] for place in places], [(labels == place).astype(np.float64) for place in places]


def _class_sums(scores: Floats, labels: Floats) -> Floats:
    odds = _log_odds(scores)
    places = np.clip(((odds + _REACH) / _STEP).astype(np.int64), 0, BINS - 1)
    return _sums(places, BINS, (np.ones(len(odds)), odds, labels))


def _sums(places: NDArray[np.int64], bins: int, columns: tuple[Floats, ...]) -> Floats:
    return np.stack([np.bincount(places, column, minlength=bins) for column in columns], axis=1).astype(np.float64)


def _calibrated(sums: Floats, scores: Floats) -> Floats:
    """Isotonic over the bins that hold rows, straight lines in the log-odds between their means."""
    seen = sums[:, 0] > 0
    rows, odds_sums, positives = sums[seen].T
    odds = odds_sums / rows
    weights = rows + PSEUDO
    shares = isotonic((positives + PSEUDO / (1 + np.exp(-odds))) / weights, weights)
    return np.clip(np.interp(_log_odds(scores), odds, shares), _EPS, 1 - _EPS)


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The closest rising sequence, by weighted squares: pools of adjacent violators (Ayer et al. 1955)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, count = value, weight, 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean, total, count = (before * heavy + mean * total) / (heavy + total), heavy + total, count + many
        pools.append((mean, total, count))
    return np.concatenate([np.full(count, mean) for mean, _, count in pools])


# Metrics of classes, as if labels were drawn by their calibrated probabilities


def _cbpe_two(experience: Experience, scores: Floats) -> dict[str, Expected]:
    chances = calibrated(experience, scores)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    right = scores >= 0.5
    costs = {
        "log_loss": (-np.log(clipped), -np.log1p(-clipped)),
        "brier": ((1 - scores) ** 2, scores**2),
        "accuracy": (right.astype(np.float64), (~right).astype(np.float64)),
    }
    found = {
        name: _mean_of(np.stack(each, axis=1), np.stack([chances, 1 - chances], axis=1)) for name, each in costs.items()
    }
    rows, _, positives = experience.sums[0].sum(axis=0)
    if min(positives, rows - positives) >= LEAST_OF_CLASS:
        found["auc"] = expected_auc(scores, chances)
    return found


def _cbpe_many(experience: Experience, scores: Floats) -> dict[str, Expected]:
    chances = calibrated(experience, scores)
    likeliest = np.zeros_like(scores)
    likeliest[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
    found = {
        "log_loss": _mean_of(-np.log(np.clip(scores, 1e-15, 1 - 1e-15)), chances),
        "brier": _mean_of((scores**2).sum(axis=1, keepdims=True) - 2 * scores + 1, chances),
        "accuracy": _mean_of(likeliest, chances),
    }
    totals = experience.sums.sum(axis=1)
    enough = np.minimum(totals[:, 2], totals[:, 0] - totals[:, 2]) >= LEAST_OF_CLASS
    if enough.all():
        each = [expected_auc(scores[:, place], chances[:, place]) for place in range(scores.shape[1])]
        # NB: the classes' areas go together, so their errors are averaged as they are.
        found["auc"] = Expected(
            float(np.mean([one.value for one in each])), float(np.mean([one.error for one in each]))
        )
    return found


def _mean_of(costs: Floats, chances: Floats) -> Expected:
    """The mean over rows of a cost per class, shape (n, classes), if each class has these chances."""
    means = (costs * chances).sum(axis=1)
    variances = (costs**2 * chances).sum(axis=1) - means**2
    return Expected(float(means.mean()), math.sqrt(max(float(variances.sum()), 0.0)) / len(means))


def expected_auc(scores: Floats, chances: Floats) -> Expected:
    """The AUC if each row is positive with its chance; its error by the influence of each label.

    >>> expected_auc(np.array([0.1, 0.9]), np.array([0.0, 1.0])).value
    1.0
    """
    _, place = np.unique(scores, return_inverse=True)
    positives, negatives = (np.bincount(place, weights) for weights in (chances, 1 - chances))
    total, rest = float(positives.sum()), float(negatives.sum())
    if total <= 0 or rest <= 0:
        return Expected(0.5, 0.5)
    below = np.cumsum(negatives) - negatives / 2
    above = total - np.cumsum(positives) + positives / 2
    area = float((positives * below).sum()) / (total * rest)
    pull = (below - above)[place] / (total * rest) - area / total + area / rest
    return Expected(area, math.sqrt(float((chances * (1 - chances) * pull**2).sum())))


# Numbers


def _dle(experience: Experience, scores: Floats) -> dict[str, Expected]:
    sums = experience.sums[0]
    usual = sums.sum(axis=0)[1:] / sums[:, 0].sum()
    means = (sums[:, 1:] + PSEUDO * usual) / (sums[:, :1] + PSEUDO)
    off, squared, fourth = means[np.searchsorted(experience.edges, scores)].T
    count = len(scores)
    mean_squared = float(squared.mean())
    error = math.sqrt(max(float((fourth - squared**2).sum()), 0.0)) / count
    root = math.sqrt(mean_squared)
    return {
        "mae": Expected(float(off.mean()), math.sqrt(max(float((squared - off**2).sum()), 0.0)) / count),
        "rmse": Expected(root, error / (2 * root) if root > 0 else 0.0),
    }


# Bounds


def _quantiles(errors: Floats, error: float) -> tuple[float, float]:
    """The 5 % and 95 % quantiles of the error of an estimate whose standard error by chance is `error`."""
    weights = ERRORS_FADE ** np.arange(len(errors) - 1, -1, -1)
    beyond = max(float(np.average(errors[:, 0] ** 2 - errors[:, 1] ** 2, weights=weights)), 0.0)
    scaled = errors[:, 0] / np.sqrt(errors[:, 1] ** 2 + beyond + _EPS)
    values, masses = np.append(scaled, _NORMAL), np.append(weights, np.ones(NORMAL))
    order = np.argsort(values, kind="stable")
    shares = (np.cumsum(masses[order]) - masses[order] / 2) / masses.sum()
    low, high = np.interp((TAIL, 1 - TAIL), shares, values[order])
    own = math.sqrt(error**2 + beyond)
    return float(own * low), float(own * high)


def _within(name: str, low: float, high: float) -> tuple[float, float]:
    """Bounds cut to what the metric can be."""
    most = 1.0 if name in ("auc", "accuracy") else math.inf
    return max(low, 0.0), min(high, most)
