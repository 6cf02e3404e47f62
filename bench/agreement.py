"""The agreement area: what the monitor computes beside river, scipy, scikit-learn, NannyML and Evidently, on the same seeded data.

Also writes docs/reports/agreement.md. NannyML and Evidently have environments of their own (`bench/peers/*.txt`); without one of
them the report stays as it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley
from scipy import stats as scipy_stats
from sklearn import metrics as sklearn_metrics
from sklearn.isotonic import IsotonicRegression

from bench import inputs
from bench.agreement_report import report
from bench.measure import BUILD, ROOT, ForeignLoad, Row, Series, compare, peer_python, progress, run_json
from headrace.events.policies import DriftDefinition
from headrace.stats import estimation
from headrace.stats.distances import benjamini_hochberg, binomial_tail, chi_square, chi_square_tail, ks
from headrace.stats.losses import BINARY, CLASSES, NUMBER
from headrace.stats.sketches import ks_of, quantiles_of, sketch_of
from headrace_monitor.core.drift import detector_of
from headrace_monitor.core.loss_change import Figure
from headrace_monitor.core.metrics import values_of

Floats = NDArray[np.float64]

REPORT = ROOT / "docs" / "reports" / "agreement.md"
PEERS = Path(__file__).parent / "peers"
CHUNK, WINDOWS, CHUNKS = 2_000, 40, 20
# NB: set before the first run: two calibrations of the same rows differ, by less than what chance alone moves a chunk.
A_CHUNK, ON_AVERAGE = 0.01, 0.0025
ROUNDING, SKETCHED, INVERTED = 1e-9, 0.052, 2e-3
STREAMS, LENGTH = 40, 120


def run() -> list[Row]:
    """The rows of the area."""
    with ForeignLoad() as load:
        rows = [*_formulas(), *_detectors()]
        beside = _nannyml()
        by_evidently = _evidently()
        rows += [*beside.rows, *by_evidently]
    for row in rows:
        row.foreign_load_share = load.share
    if beside.rows and by_evidently:
        REPORT.write_text(report(rows, beside.errors))
    return rows


def _row(name: str, peer: str, apart: float, most: float, unit: str = "apart") -> Row:
    return compare(
        f"agreement.{name}", unit, Series([apart]), demanded=f"<= {most:g}", meets=lambda found, _: found <= most,
        foreign=0.0, peer=peer,
    )  # fmt: skip


# scipy and scikit-learn: what is a formula


def _formulas() -> Iterator[Row]:
    rng = np.random.default_rng(7)
    for name, (ours, theirs) in _metric_pairs().items():
        yield _row(
            f"metric.{name}", "scikit-learn", max(abs(ours(seed) - theirs(seed)) for seed in range(30)), ROUNDING
        )
    tails = [(statistic, freedom) for statistic in (0.1, 1, 5, 20, 80) for freedom in (1, 2, 7, 30)]
    apart = max(abs(chi_square_tail(s, f) - float(scipy_stats.chi2.sf(s, f))) for s, f in tails)
    yield _row("chi_square_tail", "scipy", apart, ROUNDING)
    yield _row("chi_square", "scipy", max(_chi_square_apart(rng) for _ in range(30)), ROUNDING)
    binomials = [(count, rows, share) for rows in (10, 500) for count in (1, 5, 9) for share in (0.001, 0.1, 0.9)]
    apart = max(abs(binomial_tail(*one) - float(scipy_stats.binom.sf(one[0] - 1, *one[1:]))) for one in binomials)
    yield _row("binomial_tail", "scipy", apart, ROUNDING)
    p_values = rng.uniform(0, 1, (30, 50)) ** 3
    theirs = [scipy_stats.false_discovery_control(one) <= 0.05 for one in p_values]
    unlike = sum(int((benjamini_hochberg(a, 0.05) != b).sum()) for a, b in zip(p_values, theirs, strict=True))
    yield _row("benjamini_hochberg", "scipy", unlike, 0, "unlike decisions")
    both = [_samples(rng) for _ in range(30)]
    exact = [float(scipy_stats.ks_2samp(*pair).statistic) for pair in both]
    by_bins = [ks(*_counts(np.unique(np.concatenate(pair)), pair)) for pair in both]
    yield _row("ks.every_value", "scipy", _apart(by_bins, exact), ROUNDING)
    sketched = [ks_of(sketch_of(one), sketch_of(other)) or 0.0 for one, other in both]
    yield _row("ks.sketches", "scipy", _apart(sketched, exact), SKETCHED)
    yield _row("quantile_ranks.sketches", "numpy", max(_ranks_apart(one) for one, _ in both), SKETCHED / 2)
    yield _row("isotonic", "scikit-learn", max(_isotonic_apart(rng) for _ in range(30)), ROUNDING)


def _metric_pairs() -> dict[str, tuple[Callable[[int], float], Callable[[int], float]]]:
    """Our metrics by name and scikit-learn's, each of the rows of a seed."""
    found: dict[str, tuple[Callable[[int], float], Callable[[int], float]]] = {}
    table = {
        "auc": (BINARY, lambda y, s: sklearn_metrics.roc_auc_score(y, s)),
        "log_loss": (BINARY, lambda y, s: sklearn_metrics.log_loss(y, s)),
        "brier": (BINARY, lambda y, s: sklearn_metrics.brier_score_loss(y, s)),
        "average_precision": (BINARY, lambda y, s: sklearn_metrics.average_precision_score(y, s)),
        "mae": (NUMBER, lambda y, s: sklearn_metrics.mean_absolute_error(y, s)),
        "rmse": (NUMBER, lambda y, s: sklearn_metrics.root_mean_squared_error(y, s)),
        "pinball@.9": (NUMBER, lambda y, s: sklearn_metrics.mean_pinball_loss(y, s, alpha=0.9)),
    }
    for name, (kind, theirs) in table.items():
        found[f"{name}.{kind}"] = _pair(name, kind, theirs)
    found["auc.classes"] = _pair("auc", CLASSES, lambda y, s: sklearn_metrics.roc_auc_score(y, s, multi_class="ovr"))
    found["log_loss.classes"] = _pair("log_loss", CLASSES, lambda y, s: sklearn_metrics.log_loss(y, s))
    return found


def _pair(
    name: str, kind: str, theirs: Callable[[Floats, Floats], float]
) -> tuple[Callable[[int], float], Callable[[int], float]]:
    return lambda seed: values_of([name], kind, *_labelled(kind, seed))[name], lambda seed: theirs(
        *_labelled(kind, seed)
    )


def _labelled(kind: str, seed: int) -> tuple[Floats, Floats]:
    """Labels and scores of 300 rows; scores are rounded, so that many are equal."""
    rng = np.random.default_rng(seed)
    if kind == NUMBER:
        labels = rng.normal(0, 3, 300)
        return labels, np.round(labels + rng.normal(0, 1, 300), 1)
    if kind == BINARY:
        scores = np.round(rng.uniform(0.01, 0.99, 300), 2)
        return (rng.uniform(size=300) < scores).astype(float), scores
    scores = rng.dirichlet(np.ones(4), 300)
    return np.array([rng.choice(4, p=row) for row in scores], float), scores


def _chi_square_apart(rng: np.random.Generator) -> float:
    """Of two samples over the same bins: their statistic with the shares of both together."""
    table = rng.poisson(rng.uniform(20, 200, (1, 8)) * np.array([[1.0], [2.0]]))
    shares = table.sum(axis=0) / table.sum()
    ours = sum(float(chi_square(counts, shares)[0]) for counts in table)
    return abs(ours - float(scipy_stats.chi2_contingency(table, correction=False).statistic))


def _samples(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shift = rng.uniform(0, 0.5)
    return rng.normal(0, 1, 3000).astype(np.float32), rng.normal(shift, 1.2, 2000).astype(np.float32)


def _counts(edges: NDArray, pair: Sequence[NDArray]) -> list[NDArray[np.int64]]:
    return [np.bincount(np.searchsorted(edges, one), minlength=len(edges)) for one in pair]


def _ranks_apart(values: NDArray[np.float32]) -> float:
    shares, ordered = np.linspace(0.05, 0.95, 19), np.sort(values)
    found = quantiles_of(sketch_of(values), shares.tolist())
    return float(np.abs(np.searchsorted(ordered, found) / len(ordered) - shares).max())


def _isotonic_apart(rng: np.random.Generator) -> float:
    values, weights = np.sort(rng.uniform(0, 1, 40)) + rng.normal(0, 0.2, 40), rng.uniform(1, 9, 40)
    theirs = IsotonicRegression().fit_transform(np.arange(40), values, sample_weight=weights)
    return _apart(estimation.isotonic(values, weights), theirs)


def _apart(ours: Sequence[float] | Floats, theirs: Sequence[float] | Floats) -> float:
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())


# river: at which window a detector alarms first


def _detectors() -> Iterator[Row]:
    tests: dict[str, tuple[DriftDefinition, Callable[[], PageHinkley | ADWIN]]] = {
        "page_hinkley": (
            DriftDefinition("page_hinkley", "log_loss", 86_400.0, 0.02, 0.8, 7),
            lambda: PageHinkley(min_instances=7, delta=0.02, threshold=0.8, mode="up"),
        ),
        "adwin": (
            DriftDefinition("adwin", "log_loss", 86_400.0, 0.002, 0.0, 10),
            lambda: ADWIN(delta=0.002, clock=1, grace_period=10),
        ),
    }
    for name, (plan, theirs) in tests.items():
        unlike = sum(_first_of_ours(plan, seed) != _first_of_river(theirs(), seed) for seed in range(STREAMS))
        yield _row(f"first_alarm.{name}", "river", unlike, 0, f"unlike of {STREAMS}")


def _stream(seed: int) -> list[float]:
    """A loss per window that rises at an unknown one, in four of five streams."""
    rng = np.random.default_rng(seed)
    onset = LENGTH if seed % 5 == 0 else int(rng.integers(20, 90))
    return (0.4 + 0.3 * (np.arange(LENGTH) >= onset) + rng.normal(0, 0.05, LENGTH)).tolist()


def _first_of_ours(plan: DriftDefinition, seed: int) -> int | None:
    detector = detector_of(plan).restarted(1)
    for place, loss in enumerate(_stream(seed)):
        step = detector.on_figure(Figure(place * plan.evaluation_window_s, loss))
        detector = step.state
        if step.facts:
            return place
    return None


def _first_of_river(detector: PageHinkley | ADWIN, seed: int) -> int | None:
    losses = _stream(seed)
    for place, loss in enumerate(losses):
        detector.update(loss)
        if detector.drift_detected:
            return place
    return None


# NannyML: metrics before labels come


@dataclass(frozen=True)
class Beside:
    """The rows, and per case and metric the mean distance from what it became of ours, of NannyML's, and between both."""

    rows: Sequence[Row]
    errors: Mapping[tuple[str, str], tuple[float, float, float]]


@dataclass(frozen=True)
class Case:
    """Labelled rows of closed windows, and rows of windows whose labels have not come, with what their labels will be."""

    scores: Floats
    labels: Floats
    later_scores: Floats
    later_labels: Floats


def cases() -> dict[str, Case]:
    """Seeded cases of two and of three classes."""
    return {
        "calibrated": _two(1, 0.0, 1.0, 0.0),
        "overconfident": _two(2, 0.0, 1.7, 0.0),
        "shifted": _two(3, 0.0, 1.0, 0.7),
        "rare": _two(4, -3.5, 1.3, 0.0),
        "three_classes": _three(5),
    }


def _two(seed: int, level: float, sharpness: float, shift: float) -> Case:
    """Log-odds are normal around `level`; scores overstate them by `sharpness`; later ones lie higher by `shift`."""
    rng, sizes = np.random.default_rng(seed), (WINDOWS * CHUNK, CHUNKS * CHUNK)
    odds = [rng.normal(level + more, 1.2, size) for more, size in zip((0.0, shift), sizes, strict=True)]
    labels = [(rng.uniform(size=len(one)) < 1 / (1 + np.exp(-one))).astype(float) for one in odds]
    scores = [1 / (1 + np.exp(-sharpness * one)) for one in odds]
    return Case(scores[0], labels[0], scores[1], labels[1])


def _three(seed: int) -> Case:
    rng, sizes = np.random.default_rng(seed), (WINDOWS * CHUNK, CHUNKS * CHUNK)
    odds = [rng.normal(0, 1.2, (size, 3)) for size in sizes]
    labels = [(one + rng.gumbel(size=one.shape)).argmax(axis=1).astype(float) for one in odds]
    scores = [np.exp(1.3 * one) / np.exp(1.3 * one).sum(axis=1, keepdims=True) for one in odds]
    return Case(scores[0], labels[0], scores[1], labels[1])


def _nannyml() -> Beside:
    folder, drawn = BUILD / "agreement", cases()
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in drawn.items():
        np.savez(
            folder / f"{name}.npz", reference_scores=case.scores, reference_labels=case.labels,
            analysis_scores=case.later_scores, analysis_labels=case.later_labels,
        )  # fmt: skip
    if (python := peer_python("nannyml")) is None:
        return Beside([], {})
    progress("NannyML's CBPE")
    found = run_json([python, PEERS / "nannyml_cbpe.py", folder, str(CHUNK)], 600)
    if found is None:
        return Beside([], {})
    rows, errors = [], {}
    for name, case in drawn.items():
        ours, became = _estimated(case)
        for metric, theirs_name in (("auc", "roc_auc"), ("accuracy", "accuracy")):
            mine, true, theirs = ours[metric], became[metric], np.array(found[name][theirs_name])
            rows.append(_row(f"cbpe.{name}.{metric}.a_chunk", "NannyML", _apart(mine, theirs), A_CHUNK))
            between = float(np.abs(mine - theirs).mean())
            rows.append(_row(f"cbpe.{name}.{metric}.on_average", "NannyML", between, ON_AVERAGE))
            errors[name, metric] = (float(np.abs(mine - true).mean()), float(np.abs(theirs - true).mean()), between)
    return Beside(rows, errors)


def _estimated(case: Case) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Our estimates per chunk and metric, and what they became."""
    kind = BINARY if case.scores.ndim == 1 else CLASSES
    known = estimation.experience_of(kind, 2 if kind == BINARY else case.scores.shape[1])
    for first in range(0, len(case.scores), CHUNK):
        known = estimation.learnt(known, case.scores[first : first + CHUNK], case.labels[first : first + CHUNK])
    names, ours, became = ("auc", "accuracy"), list[list[float]](), list[list[float]]()
    for first in range(0, len(case.later_scores), CHUNK):
        scores, labels = (found[first : first + CHUNK] for found in (case.later_scores, case.later_labels))
        expected, true = estimation.expected(known, scores), values_of(names, kind, labels, scores)
        ours.append([expected[name].value for name in names])
        became.append([true[name] for name in names])
    by_name = [dict(zip(names, np.array(found).T, strict=True)) for found in (ours, became)]
    return by_name[0], by_name[1]


# Evidently: PSI and Kolmogorov-Smirnov


def _evidently() -> list[Row]:
    """Evidently gives the p-value of the Kolmogorov-Smirnov test and no distance: it is inverted (scipy's `kstwo`)."""
    rng, count = np.random.default_rng(9), 2_000
    reference = rng.normal(0, 1, (count, inputs.COLUMNS)).astype(np.float32)
    current = rng.normal(np.linspace(0, 0.15, inputs.COLUMNS), 1, (count, inputs.COLUMNS)).astype(np.float32)
    folder = BUILD / "agreement" / "evidently"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "reference.npy", reference)
    np.save(folder / "current.npy", current)
    if (python := peer_python("evidently")) is None:
        return []
    progress("Evidently's PSI and Kolmogorov-Smirnov")
    found = run_json([python, PEERS / "evidently_drift.py", folder], 600)
    if found is None:
        return []
    names, values = [f"x{n}" for n in range(inputs.COLUMNS)], found["values"]
    shown, _, is_empty = inputs.report(reference, current)
    filled = [n for n, empty in enumerate(is_empty) if not empty]
    apart = _apart([shown[n] for n in filled], [values["psi"][names[n]] for n in filled])
    theirs = [float(scipy_stats.kstwo.isf(values["ks"][name], count / 2)) for name in names]
    pairs = [(reference[:, n], current[:, n]) for n in range(inputs.COLUMNS)]
    exact = [ks(*_counts(np.unique(np.concatenate(pair)), pair)) for pair in pairs]
    sketched = [ks_of(sketch_of(one), sketch_of(other)) or 0.0 for one, other in pairs]
    return [
        _row("psi.same_bins", "Evidently", apart, inputs.APART),
        _row("ks.every_value_by_p_value", "Evidently", _apart(exact, theirs), INVERTED),
        _row("ks.sketches_by_p_value", "Evidently", _apart(sketched, theirs), SKETCHED + INVERTED),
    ]
