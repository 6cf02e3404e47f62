"""Estimates: how close they come on the real flights, against the mean of the last 30 days and its quantiles as bounds.

A model that was fitted on January to March scores April to December. Each day is estimated from the days before, as the monitor
does at the end of a day whose predecessor has closed. The constants were chosen on February and March, scored by models of the
months before. The interval score of bounds of 90 % is that of Gneiting and Raftery (2007): their width, and 20 times what lies
outside; less is better. The data are made once, in about a minute, and kept.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from bench.flight_rows import DEPLOYMENT, PROJECT, features_of, signature_of, table_of
from bench.measure import ROOT, ForeignLoad, Row, progress
from headrace.features.rows import RowMaker
from headrace.stats import estimation
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_flights.train import build
from headrace_monitor.core.metrics import values_of

Floats = NDArray[np.float64]

CACHE = ROOT / "build" / "estimates" / "scores-1.npz"
DAY_S = 86_400.0
APRIL = 90
DAYS = 30
TAIL = 0.05
LEAST = 50
METRICS = {"binary": ("log_loss", "auc", "brier", "accuracy"), "number": ("mae", "rmse")}


def run() -> list[Row]:
    """All rows of the area."""
    with ForeignLoad() as load:
        rows = [row for kind in METRICS for row in rows_of(kind, *days(kind))]
    for row in rows:
        row.foreign_load_share = load.share
    return rows


def days(kind: str) -> tuple[list[Floats], list[Floats]]:
    """Scores and labels of each day from April on."""
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(CACHE, **_make())
    found = np.load(CACHE)
    scores, labels = found[f"{kind}:score"], found[f"{kind}:label"]
    chosen = [np.flatnonzero(found["day"] == day) for day in np.unique(found["day"])]
    chosen = [mine for mine in chosen if len(mine) >= LEAST]
    return [scores[mine] for mine in chosen], [labels[mine] for mine in chosen]


def rows_of(kind: str, scores: list[Floats], labels: list[Floats]) -> list[Row]:
    """The error, the interval score and the coverage of each metric."""
    progress(f"{len(scores)} days of a label that is {kind}")
    seen = _estimated(kind, scores, labels)
    rows = []
    for name in METRICS[kind]:
        became, value, low, high, usual, usual_low, usual_high = np.array(seen[name]).T
        ours, theirs = (float(np.abs(became - guess).mean()) for guess in (value, usual))
        rows.append(_row(f"estimates.{name}.error", ours, theirs))
        scored = _interval_score(low, high, became), _interval_score(usual_low, usual_high, became)
        rows.append(_row(f"estimates.{name}.interval_score", *scored))
        inside = float(((low <= became) & (became <= high)).mean())
        peer = float(((usual_low <= became) & (became <= usual_high)).mean())
        met = 0.85 <= inside <= 0.95
        rows.append(
            Row(
                f"estimates.{name}.coverage",
                inside,
                "share",
                "last 30 days",
                peer,
                None,
                "0.85..0.95",
                met,
                1,
                0.0,
                0.0,
            )
        )
    return rows


def _row(name: str, ours: float, theirs: float) -> Row:
    return Row(name, ours, "", "last 30 days", theirs, theirs / ours, "below the peer", ours < theirs, 1, 0.0, 0.0)


def _estimated(kind: str, scores: list[Floats], labels: list[Floats]) -> dict[str, list[tuple[float, ...]]]:
    """Per metric and day: what it became, our estimate with its bounds, and the mean of the last 30 days with its quantiles."""
    experience = estimation.experience_of(kind)
    seen: dict[str, list[tuple[float, ...]]] = {name: [] for name in METRICS[kind]}
    before: dict[str, list[float]] = {name: [] for name in METRICS[kind]}
    for scored, true in zip(scores, labels, strict=True):
        became = values_of(METRICS[kind], kind, true, scored)
        for name, expected in estimation.expected(experience, scored).items():
            bounded, newest = estimation.bounded(experience, name, expected), before[name][-DAYS:]
            if bounded is not None:
                quantiles = np.quantile(newest, (TAIL, 1 - TAIL))
                ours = (bounded.value, bounded.low, bounded.high)
                seen[name].append((became[name], *ours, float(np.mean(newest)), *quantiles.tolist()))
            experience = estimation.noted(experience, name, expected, became[name])
        for name, value in became.items():
            before[name].append(value)
        experience = estimation.learnt(experience, scored, true)
    return seen


def _interval_score(low: Floats, high: Floats, became: Floats) -> float:
    outside = np.maximum(low - became, 0) + np.maximum(became - high, 0)
    return float((high - low + outside / TAIL).mean())


def _make() -> dict[str, NDArray]:
    schedule = Schedule()
    at_s = schedule.asked_s
    inputs = [schedule.asked(place).inputs for place in range(len(at_s))]
    tables = {source.name: table_of(schedule, source) for source in PROJECT.sources}
    signature = signature_of(schedule)
    progress(f"folding the features of {len(at_s):,} flights")
    rows = RowMaker(DEPLOYMENT, signature).rows(inputs, features_of(inputs, at_s, tables))
    delay = schedule.flights["arrival_delay_min"].to_numpy().astype(float)
    late = (np.isnan(delay) | (delay > 15)).astype(float)
    minutes = np.clip(np.nan_to_num(delay, nan=180.0), -60, 240)
    day = np.floor((at_s - EPOCH_S) / DAY_S).astype(int)
    fitted, tested = day < APRIL, day >= APRIL
    number = HistGradientBoostingRegressor(max_iter=80, learning_rate=0.08, min_samples_leaf=100, random_state=0)
    return {
        "day": day[tested],
        "binary:label": late[tested],
        "number:label": minutes[tested],
        "binary:score": build(signature).fit(rows[fitted], late[fitted]).predict_proba(rows[tested])[:, 1],
        "number:score": number.fit(rows[fitted], minutes[fitted]).predict(rows[tested]),
    }
