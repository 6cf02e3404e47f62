"""Whole rollouts on resampled real traffic, many side by side, through the policy code that the monitor runs.

A rollout is a row of days drawn from July (whole days of 24 one-hour blocks from 08:00 UTC, when New York sleeps, in intervals
of three days on average: the stationary bootstrap). It is shadowed for a day, takes 1, 5 and 25 %, goes to all when it is shown to be no
worse, and is judged for the rest of the time. The label evidence is looked at after every closed block, and rolls back when it
fails. Guardrails are apart (`guardrail_sims`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import RolloutDefinition
from headrace.stats.pairs import BlockSum, PairTest, brier_losses, shows_harm, shows_no_worse, sum_up
from headrace.stats.sequential import chains_needed
from headrace_monitor.core.guardrails import split_alpha

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S, DAY_S = 3600.0, 86_400.0
HOURS = 24
QUIET_S = 8 * HOUR_S
SHOWN_LEVEL = 0.05
STRETCH_DAYS = 3.0
NEVER = np.inf
FIELDS = ("harm_gain", "harm_risk", "margin_gain", "margin_risk")
PLAN = RolloutDefinition("canary", margin=0.01, label_delay_s=11 * HOUR_S)


@dataclass(frozen=True)
class Traffic:
    """Requests of whole days with their labels and the scores of two versions.

    `at_s` counts from the first day's quiet hour; `lag_s`: how long after its request a label is known. Scores may be NaN: failed.
    """

    at_s: Floats
    lag_s: Floats
    labels: Floats
    new: Floats
    control: Floats

    @cached_property
    def block(self) -> Ints:
        """The hour that each request falls into."""
        return (self.at_s // HOUR_S).astype(np.int64)

    @property
    def days(self) -> int:
        """How many days it covers."""
        return int(self.block.max()) // HOURS + 1

    def swapped(self) -> "Traffic":
        """The two versions in each other's place."""
        return Traffic(self.at_s, self.lag_s, self.labels, self.control, self.new)


@dataclass(frozen=True)
class Table:
    """What the tests need of every hour, shape (hours,); `low` per test and age in hours since the block's end, (hours, ages)."""

    rows: Floats
    labelled: Floats
    difference: Floats
    square: Floats
    sums: Mapping[str, Floats]
    low: Mapping[str, Floats]
    pairs: Floats


def tabulate(traffic: Traffic, margin: float, delay_h: int) -> Table:
    """Every block of the traffic by `sum_up`, as it stands at its closing and at each hour before."""
    count = traffic.days * HOURS
    order = np.argsort(traffic.block, kind="stable")
    bounds = np.searchsorted(traffic.block[order], np.arange(count + 1))
    new, control = brier_losses(traffic.new), brier_losses(traffic.control)
    final: list[BlockSum] = []
    low = {"harm": np.zeros((count, delay_h)), "margin": np.zeros((count, delay_h))}
    square = np.zeros(count)
    for block in range(count):
        rows = order[bounds[block] : bounds[block + 1]]
        known_h = (traffic.at_s[rows] + traffic.lag_s[rows]) / HOUR_S - (block + 1)
        for age in range(delay_h + 1):
            labels = np.where(known_h <= age, traffic.labels[rows], np.nan)
            found = sum_up(new[rows], control[rows], labels, margin, missing_is_worst=True)
            if age < delay_h:
                low["harm"][block, age], low["margin"][block, age] = found.harm_gain, found.margin_gain
        final.append(found)
        is_known = ~np.isnan(labels)
        square[block] = ((new - control)[rows, traffic.labels[rows].astype(np.int64)][is_known] ** 2).sum()
    names = ("rows", "labelled", "difference", *FIELDS)
    columns = {name: np.array([getattr(block, name) for block in final], dtype=np.float64) for name in names}
    sums = {name: columns[name] for name in FIELDS}
    return Table(
        columns["rows"],
        columns["labelled"],
        columns["difference"],
        square,
        sums,
        low,
        np.diff(bounds).astype(np.float64),
    )


def draw_days(rng: np.random.Generator, runs: int, days: int, pool: int) -> Ints:
    """Days of the pool for each run, shape (runs, days): intervals of random length that wrap around at the end."""
    fresh = rng.random((runs, days)) < 1 / STRETCH_DAYS
    fresh[:, 0] = True
    starts = rng.integers(0, pool, (runs, days))
    places = np.arange(days)
    last = np.maximum.accumulate(np.where(fresh, places, 0), axis=1)
    return (np.take_along_axis(starts, last, axis=1) + places - last) % pool


def draw_hours(rng: np.random.Generator, runs: int, days: int, pool: int) -> Ints:
    """The same as blocks of the pool, shape (runs, 24 days)."""
    return (draw_days(rng, runs, days, pool)[:, :, None] * HOURS + np.arange(HOURS)).reshape(runs, -1)


@dataclass
class Labels:
    """What became of the label evidence, per run: hours from the start, NEVER where it did not come to it."""

    harm_h: Floats
    shown_h: Floats
    naive_h: Floats
    labels_at_harm: Floats
    blocks_at_harm: Floats


@dataclass(frozen=True)
class Null:
    """How differences are made harmless: `signs` per run and hour, `shift` added to every request's difference afterwards."""

    signs: Floats
    shift: float


def judge_labels(
    table: Table, other: Table | None, hours: Ints, plan: RolloutDefinition, alpha: float, null: Null | None = None
) -> Labels:
    """Harm, non-inferiority and a naive repeated t-test at every closed block. `hours`: blocks of the table, shape (runs, hours).

    `other`: the table with the versions swapped, for a null with signs: what is at risk is then the larger of both, so that
    it does not tell the sign.
    """
    runs, count = hours.shape
    delay_h = table.low["harm"].shape[1]
    test = PairTest.new(chains_needed(delay_h * HOUR_S, HOUR_S), plan.margin, (runs,))
    found = Labels(*(np.full(runs, NEVER) for _ in range(3)), np.zeros(runs), np.zeros(runs))
    labelled, total, squares, blocks = np.zeros(runs), np.zeros(runs), np.zeros(runs), np.zeros(runs)
    for hour in range(count):
        at = hours[:, hour]
        sums, difference = _settled(table, other, at, null, hour, plan.margin)
        test.settle(sums)
        labelled += table.labelled[at]
        total += difference
        squares += _squares(table, at, null, hour)
        blocks += table.rows[at] > 0
        behind = [
            _open(table, other, hours, hour + n, delay_h - n, null)
            for n in range(1, min(delay_h, count - 1 - hour) + 1)
        ]
        harm, shown, _ = test.log_e(behind)
        mean = total / np.maximum(labelled, 1)
        is_harm = shows_harm(harm, mean, plan.margin, alpha) & np.isinf(found.harm_h)
        found.labels_at_harm[is_harm], found.blocks_at_harm[is_harm] = labelled[is_harm], blocks[is_harm]
        now_h = hour + 1 + delay_h
        found.harm_h[is_harm] = now_h
        found.shown_h[shows_no_worse(shown, mean, plan.margin, SHOWN_LEVEL) & np.isinf(found.shown_h)] = now_h
        border = plan.margin if null is None else null.shift
        found.naive_h[_t_test(labelled, total, squares, border) & np.isinf(found.naive_h)] = now_h
    return found


def _settled(
    table: Table, other: Table | None, at: Ints, null: Null | None, hour: int, margin: float
) -> tuple[BlockSum, Floats]:
    pick = {name: table.sums[name][at] for name in FIELDS}
    difference = table.difference[at]
    if null is not None and other is not None:
        sign, weight = null.signs[:, hour], table.rows[at] / (table.rows[at] + 10.0)
        pick = {name: np.where(sign > 0, pick[name], other.sums[name][at]) for name in FIELDS}
        for name in ("harm_risk", "margin_risk"):
            pick[name] = np.maximum(table.sums[name][at], other.sums[name][at])
        difference = sign * difference + null.shift * table.labelled[at]
        pick["harm_gain"] = pick["harm_gain"] + null.shift * weight
        pick["margin_gain"] = pick["margin_gain"] - null.shift * weight
        pick["margin_risk"] = pick["margin_risk"] + null.shift * weight
    return BlockSum(table.rows[at], table.labelled[at], difference, **pick), difference  # type: ignore[arg-type]


def _open(table: Table, other: Table | None, hours: Ints, hour: int, age: int, null: Null | None) -> BlockSum:
    at = hours[:, hour]
    low = {name: table.low[name][at, age] if age < table.low[name].shape[1] else 0.0 for name in ("harm", "margin")}
    risk = {name: table.sums[f"{name}_risk"][at] for name in ("harm", "margin")}
    if null is not None and other is not None:
        for name in low:
            low[name] = np.where(null.signs[:, hour] > 0, low[name], other.low[name][at, age])
            risk[name] = np.maximum(risk[name], other.sums[f"{name}_risk"][at])
        shift = null.shift * table.rows[at] / (table.rows[at] + 10.0)
        low["margin"], risk["margin"] = low["margin"] - shift, risk["margin"] + shift
    return BlockSum(0, 0, 0.0, low["harm"], risk["harm"], low["margin"], risk["margin"], 0.0, 0.0)  # type: ignore[arg-type]


def _squares(table: Table, at: Ints, null: Null | None, hour: int) -> Floats:
    if null is None:
        return table.square[at]
    shift, sign = null.shift, null.signs[:, hour]
    return table.square[at] + 2 * shift * sign * table.difference[at] + shift**2 * table.labelled[at]


def _t_test(count: Floats, total: Floats, squares: Floats, margin: float) -> NDArray[np.bool_]:
    """What many would do: a one-sided t-test at 5 % on all labelled requests so far, repeated at every look."""
    n = np.maximum(count, 2.0)
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 1e-12)
    return (count >= 30) & ((mean - margin) / np.sqrt(variance / n) > 1.645)


def shares_of(count: int, shown_h: float) -> Floats:
    """The version's share per hour: a day in shadow, then 1 % for two days, 5 % for half a day, 25 % until it is shown to be no worse."""
    share = np.full(count, 0.25)
    share[:24], share[24:72], share[72:84] = 0.0, 0.01, 0.05
    share[int(min(max(shown_h, 96), count)) :] = 1.0
    return share


def naive_arms(rng: np.random.Generator, traffic: Traffic, hours: Ints) -> Floats:
    """The hour at which a t-test of the Brier scores of the two arms' units, repeated every hour, calls the new arm worse, per run."""
    order = np.argsort(traffic.block, kind="stable")
    bounds = np.searchsorted(traffic.block[order], np.arange(traffic.days * HOURS + 1))
    loss = (traffic.new - traffic.labels)[order] ** 2
    found = np.full(len(hours), NEVER)
    for run, blocks in enumerate(hours):
        sizes = bounds[blocks + 1] - bounds[blocks]
        ends = np.cumsum(sizes)
        rows = np.repeat(bounds[blocks] - ends + sizes, sizes) + np.arange(ends[-1])
        is_new = rng.random(len(rows)) < np.repeat(shares_of(len(blocks), NEVER), sizes)
        new, control = (_moments(loss[rows], mask)[ends - 1] for mask in (is_new, ~is_new))
        spread = np.sqrt(new[:, 2] / new[:, 0] + control[:, 2] / control[:, 0])
        worse = (new[:, 0] >= 30) & (new[:, 1] - control[:, 1] > 1.645 * spread)
        found[run] = worse.argmax() if worse.any() else NEVER
    return found


def _moments(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Running count, mean and variance of the masked values, shape (n, 3)."""
    count = np.maximum(np.cumsum(mask), 1.0)
    mean = np.cumsum(np.where(mask, values, 0.0)) / count
    return np.stack(
        [count, mean, np.maximum(np.cumsum(np.where(mask, values**2, 0.0)) / count - mean**2, 1e-12)], axis=1
    )


# whole rollouts


@dataclass(frozen=True)
class Outcome:
    """Of many rollouts: when each was rolled back by its labels."""

    labels: Labels

    @property
    def back_h(self) -> Floats:
        """Hours until the rollback."""
        return self.labels.harm_h

    @property
    def share_back(self) -> float:
        """Share of the runs that were rolled back."""
        return float(np.isfinite(self.back_h).mean())


def roll_out(
    traffic: Traffic,
    *,
    runs: int,
    days: int,
    seed: int,
    plan: RolloutDefinition = PLAN,
    null: str = "",
    flip_hours: int = 1,
) -> Outcome:
    """`runs` whole rollouts of `days`. `null`: "" for the versions as they are, `zero` or `border` for differences with random
    signs, one per `flip_hours`, around 0 or around the margin."""
    rng = np.random.default_rng(seed)
    delay_h = round((plan.label_delay_s or DAY_S) / HOUR_S)
    table = tabulate(traffic, plan.margin, delay_h)
    hours = draw_hours(rng, runs, days, traffic.days)
    alphas = split_alpha(plan.alpha, ["errors"], has_labels=True)
    other, made = None, None
    if null:
        other = tabulate(traffic.swapped(), plan.margin, delay_h)
        signs = rng.choice([-1.0, 1.0], (runs, -(-hours.shape[1] // flip_hours))).repeat(flip_hours, axis=1)
        made = Null(signs[:, : hours.shape[1]], plan.margin if null == "border" else 0.0)
    return Outcome(judge_labels(table, other, hours, plan, alphas["labels"], made))
