"""The flight year in whole weeks, scored by models that were fitted on other weeks: the data of the monitor area, made once and kept.

Six folds of interleaved weeks (week w is in fold w mod 6): each week is scored by a model that saw the five other folds, so no
week is foreign to its model, and none was seen by it. What is left is the noise of real weeks. Rows, labels and the instants at
which labels are known are those of the example, folded offline as serving folds them. `broken` holds the scores that the same
models give to rows with a planted fault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.flight_rows import DEPLOYMENT, PROJECT, features_of, known_s, signature_of, table_of
from bench.measure import ROOT, progress
from headrace.events.registry import Signature
from headrace.features.rows import RowMaker
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_flights.train import build

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

CACHE = ROOT / "build" / "monitor" / "weeks-1.npz"
FOLDS, WEEKS = 6, 52
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
MILES_TO_KM = 1.609344
STREAMING = ("departures", "landings")
RENAMED = "UA"


@dataclass(frozen=True)
class Weeks:
    """Per flight asked about in the 52 weeks, in order of its instant.

    `at_s`: the instant; `lag_s`: how long its label takes; `label`; `score`: of the cross-fitted model; `rows`: float32
    (n, columns); `broken`: scores of the rows after a fault of `FAULTS`, by its name.
    """

    at_s: Floats
    lag_s: Floats
    label: Floats
    score: Floats
    rows: Rows
    broken: Mapping[str, Floats]

    @cached_property
    def signature(self) -> Signature:
        """The columns of `rows`, with their vocabularies."""
        return signature_of(Schedule())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each day begins among the flights, and where the last one ends: shape (days + 1,)."""
        return np.searchsorted(self.at_s, EPOCH_S + np.arange(7 * WEEKS + 1) * DAY_S)

    def day(self, number: int) -> slice:
        """The flights of a day, counted from 0."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))


def weeks(cache: Path = CACHE) -> Weeks:
    """From the cache, or made: about three minutes."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **_make())
    with np.load(cache) as found:
        scores = {name[7:]: found[name].astype(np.float64) for name in found.files if name.startswith("broken:")}
        lag_s, label, score = (found[name].astype(np.float64) for name in ("lag_s", "label", "score"))
        return Weeks(found["at_s"], lag_s, label, score, found["rows"], scores)


# Faults of rows


def without_streams(rows: Rows, signature: Signature) -> Rows:
    """The features of streams null, as after an outage of their pipeline: the default of a feature where it has one."""
    return _without(rows, signature, streaming_views())


def in_km(rows: Rows, signature: Signature) -> Rows:
    """The distance in kilometres."""
    changed = rows.copy()
    changed[:, place_of(signature, "distance_miles")] *= MILES_TO_KM
    return changed


def renamed(rows: Rows, signature: Signature) -> Rows:
    """The largest carrier by another name, which no version and no view knows."""
    place = place_of(signature, "carrier")
    code = (signature.columns[place].vocabulary or ()).index(RENAMED)
    mine = rows[:, place] == code
    changed = rows.copy()
    changed[mine] = _without(rows[mine], signature, {b.view for b in DEPLOYMENT.features if "carrier" in b.fields})
    changed[mine, place] = np.nan
    return changed


def in_utc(rows: Rows, signature: Signature) -> Rows:
    """The hour of departure in UTC instead of New York's time (five hours ahead, as in winter)."""
    place, changed = place_of(signature, "hour"), rows.copy()
    changed[:, place] = (changed[:, place] + 5) % 24
    return changed


FAULTS: dict[str, Callable[[Rows, Signature], Rows]] = {
    "streams_null": without_streams,
    "miles_to_km": in_km,
    "carrier_renamed": renamed,
    "hour_in_utc": in_utc,
}


def place_of(signature: Signature, column: str) -> int:
    """Where a column lies. Raises `StopIteration` where there is none."""
    return next(place for place, pin in enumerate(signature.columns) if pin.name == column)


def streaming_views() -> set[str]:
    """The views that streams of movements feed; the others are the weather's."""
    return {binding.view for binding in DEPLOYMENT.features if PROJECT.view(binding.view).source in STREAMING}


def _without(rows: Rows, signature: Signature, views: set[str]) -> Rows:
    changed = rows.copy()
    for place, pin in enumerate(signature.columns):
        if pin.name.partition(".")[0] in views and "." in pin.name:
            changed[:, place] = np.nan if pin.default is None else pin.default
    return changed


# Made once


def _make() -> dict[str, NDArray]:
    schedule = Schedule()
    at_s = schedule.asked_s
    kept = (at_s >= EPOCH_S) & (at_s < EPOCH_S + WEEKS * WEEK_S)
    inputs = [schedule.asked(place).inputs for place in range(len(at_s))]
    tables = {source.name: table_of(schedule, source) for source in PROJECT.sources}
    signature = signature_of(schedule)
    progress(f"folding the features of {len(at_s):,} flights")
    rows = RowMaker(DEPLOYMENT, signature).rows(inputs, features_of(inputs, at_s, tables))[kept]
    delay_min = schedule.flights["arrival_delay_min"].to_numpy().astype(float)
    label = (np.isnan(delay_min) | (delay_min > 15)).astype(np.float32)[kept]
    fold = ((at_s[kept] - EPOCH_S) // WEEK_S).astype(int) % FOLDS
    scores = {name: np.empty(len(label), dtype=np.float32) for name in ("score", *(f"broken:{n}" for n in FAULTS))}
    for number in range(FOLDS):
        progress(f"fitting on all weeks but those of fold {number + 1} of {FOLDS}")
        model, mine = build(signature).fit(rows[fold != number], label[fold != number]), fold == number
        scores["score"][mine] = model.predict_proba(rows[mine])[:, 1]
        for name, fault in FAULTS.items():
            scores[f"broken:{name}"][mine] = model.predict_proba(fault(rows[mine], signature))[:, 1]
    lag_s = (known_s(schedule) - at_s)[kept]
    return {"at_s": at_s[kept], "lag_s": lag_s, "label": label, "rows": rows, **scores}
