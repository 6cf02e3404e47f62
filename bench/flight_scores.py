"""The scores of many versions on the real flights of June to December: the data of the rollouts area, made once and kept.

All are the example's own model on the example's own rows, folded offline as serving folds them, except `logit`:

    mar, may, jun, aug       fitted on January to the end of that month
    late                     March - May
    logit                    January - May, a logistic regression
    resample_a, _b           January - May, a random 80 % of the rows each
    twin_a, _b               January - May, a random 95 % of the rows each
    skewed_MONTH             January - MONTH, on features that look 360 minutes ahead; scored on honest ones
    shuffled_, flipped_MONTH January - MONTH, on labels in random order, on labels turned around
    rare_SHARE, ...          January - May, for a label that only the latest SHARE of all flights has
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.flight_rows import DEPLOYMENT, PROJECT, features_of, known_s, signature_of, table_of
from bench.measure import ROOT, progress
from headrace.features.rows import RowMaker
from headrace.stats.trials import Traffic
from headrace_flights.schedule import Schedule
from headrace_flights.train import build

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CACHE = ROOT / "build" / "rollouts" / "year-1.npz"
HOUR_S, DAY_S = 3600.0, 86_400.0
# Cycles begin when New York sleeps.
QUIET_S = 8 * HOUR_S
AHEAD_S = 360 * 60.0
FIRST, AFTER_LAST = 6, 13
CUTS = {"may": 6, "jun": 7, "aug": 9}
RARE = ("0.02", "0.005")
LATE = "late"
_LATE_MIN = 15


@dataclass(frozen=True)
class Year:
    """Per flight asked about, in order: the instant, how long its label takes, its labels by name, and the score of each
    version.
    """

    at_s: Floats
    lag_s: Floats
    labels: dict[str, Floats]
    scores: dict[str, Floats]

    def between(self, first: int, after_last: int = AFTER_LAST) -> Bools:
        """Which flights are of whole days of these months, from one quiet hour to another."""
        begin_s, end_s = span_of(first, after_last)
        return (self.at_s >= begin_s) & (self.at_s < end_s)

    def traffic(
        self, new: str | Floats, control: str, first: int, after_last: int = AFTER_LAST, label: str = LATE
    ) -> Traffic:
        """The requests of these months. `new`: the name of a version, or scores of these flights."""
        chosen = self.between(first, after_last)
        ours = self.scores[new][chosen] if isinstance(new, str) else new
        columns = self.labels[label][chosen], ours, self.scores[control][chosen]
        return Traffic("binary", self.at_s[chosen], *(values.astype(np.float64) for values in columns))


def span_of(first: int, after_last: int = AFTER_LAST) -> tuple[float, float]:
    """Begin and end of the whole days of these months."""
    return _instant(first) + QUIET_S, _instant(after_last) - (DAY_S - QUIET_S)


def year(cache: Path = CACHE) -> Year:
    """From the cache, or made: about three minutes."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(cache, **_make())
    found = np.load(cache)
    kinds = {kind: {n[6:]: found[n] for n in found.files if n.startswith(kind)} for kind in ("label:", "score:")}
    return Year(found["at_s"], found["lag_s"], kinds["label:"], kinds["score:"])


def _make() -> dict[str, NDArray]:
    schedule = Schedule()
    at_s, count = schedule.asked_s, len(schedule.asked_s)
    inputs = [schedule.asked(place).inputs for place in range(count)]
    tables = {source.name: table_of(schedule, source) for source in PROJECT.sources}
    signature = signature_of(schedule)
    maker = RowMaker(DEPLOYMENT, signature)
    progress(f"folding the features of {count:,} flights, twice")
    rows, ahead = (maker.rows(inputs, features_of(inputs, at_s + later_s, tables)) for later_s in (0.0, AHEAD_S))
    labels, tested = _labels(schedule), at_s >= _instant(FIRST)
    order = np.flatnonzero(tested)[np.argsort(at_s[tested], kind="stable")]
    found = {"at_s": at_s[order], "lag_s": (known_s(schedule) - at_s)[order]}
    found |= {f"label:{name}": values[order].astype(np.int8) for name, values in labels.items()}
    for name, is_ahead, truth, chosen in _fits(at_s, labels):
        progress(f"fitting {name}")
        model = _logit() if name == "logit" else build(signature)
        model.fit((ahead if is_ahead else rows)[chosen], truth)
        found[f"score:{name}"] = model.predict_proba(rows[order])[:, 1].astype(np.float32)
    return found


def _fits(at_s: Floats, labels: dict[str, Floats]) -> Iterator[tuple[str, bool, Floats, Bools]]:
    """Of each version: its name, whether its features look ahead, and the labels of the chosen rows."""
    rng, late = np.random.default_rng(7), labels[LATE]

    def until(month: int, begin: int = 1) -> Bools:
        return (at_s >= _instant(begin)) & (at_s < _instant(month))

    may = until(6)
    for name, chosen in {"mar": until(4), "late": until(6, 3), "logit": may}.items():
        yield name, False, late[chosen], chosen
    for name, share in (("resample", 0.8), ("twin", 0.95)):
        for which in "ab":
            chosen = may & (rng.random(len(at_s)) < share)
            yield f"{name}_{which}", False, late[chosen], chosen
    for name, month in CUTS.items():
        chosen = until(month)
        yield name, False, late[chosen], chosen
        yield f"skewed_{name}", True, late[chosen], chosen
        yield f"shuffled_{name}", False, rng.permutation(late[chosen]), chosen
        yield f"flipped_{name}", False, 1 - late[chosen], chosen
    for share in RARE:
        truth = labels[share][may]
        yield f"rare_{share}", False, truth, may
        yield f"rareshuffled_{share}", False, rng.permutation(truth), may
        yield f"rareflipped_{share}", False, 1 - truth, may


def _logit():
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=200))


def _instant(month: int) -> float:
    return datetime(2013 + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC).timestamp()


def _labels(schedule: Schedule) -> dict[str, Floats]:
    """Late or not, as the example has it; and the rare ones: later than all but that share of the flights."""
    delay_min = schedule.flights["arrival_delay_min"].to_numpy().astype(float)
    known_min = np.nan_to_num(delay_min, nan=-1.0)
    rare = {share: (known_min > np.quantile(known_min, 1 - float(share))).astype(float) for share in RARE}
    return {LATE: (np.isnan(delay_min) | (delay_min > _LATE_MIN)).astype(float), **rare}
