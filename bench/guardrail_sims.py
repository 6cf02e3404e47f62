"""Guardrails on resampled real traffic, and whole rollouts that are judged by labels and guardrails together. See `rollout_sims`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.rollout_sims import (
    DAY_S,
    HOUR_S,
    LIMITS,
    NEVER,
    PLAN,
    Floats,
    Ints,
    Labels,
    Null,
    Table,
    Traffic,
    draw_hours,
    judge_labels,
    shares_of,
    tabulate,
)
from headrace.events.definition import RolloutDefinition
from headrace.project.deployments import GUARDRAILS
from headrace.stats.sequential import log_mean_exp
from headrace_monitor.core.guardrails import (
    LATENCY_SLACK,
    distance_log_e,
    intervals,
    split_alpha,
    staked_on_shares,
)


@dataclass(frozen=True)
class Behaviour:
    """How the two versions behave, label-free: probabilities of each kind of bad case, per arm; `slow`: of a call's being much slower."""

    bad_new: Mapping[str, float] = field(default_factory=dict)
    bad_control: Mapping[str, float] = field(default_factory=dict)
    outage_share: float = 0.01
    outage_bad: float = 0.5


QUIET = Behaviour({"errors": 0.003, "invalid_scores": 0.001, "degraded": 0.01, "latency": 0.02}, {"errors": 0.003, "invalid_scores": 0.001, "degraded": 0.01, "latency": 0.02})  # fmt: skip
BORDER = Behaviour(
    {m: QUIET.bad_control[m] + (LATENCY_SLACK if m == "latency" else LIMITS[m].limit) for m in QUIET.bad_control},
    QUIET.bad_control,
)


def judge_rails(
    rng: np.random.Generator, table: Table, hours: Ints, shown_h: Floats, how: Behaviour, alphas: Mapping[str, float]
) -> dict[str, Floats]:
    """Per metric the hour at which it fails, per run; NEVER where it does not. `shown_h`: when each run goes to all traffic."""
    found = {
        metric: np.full(len(hours), NEVER)
        for metric in ("errors", "invalid_scores", "degraded", "latency", "distribution")
    }
    for run in range(len(hours)):
        rows = table.pairs[hours[run]].astype(np.int64)
        hour = np.repeat(np.arange(len(rows)), rows)
        share = shares_of(len(rows), shown_h[run])[hour]
        is_new = rng.random(len(hour)) < share
        is_out = (rng.random(len(rows)) < how.outage_share)[hour]
        for metric in ("errors", "invalid_scores", "degraded"):
            found[metric][run] = _share_fails(rng, metric, hour, is_new, share, is_out, how, alphas[metric])
        found["latency"][run] = _latency_fails(rng, hour, how, alphas["latency"])
    found["distribution"] = _distance_fails(table, hours, alphas["distribution"])
    return found


def _share_fails(rng, metric, hour, is_new, share, is_out, how: Behaviour, alpha: float) -> float:
    rail = LIMITS[metric]
    in_new, in_control = is_new, ~is_new
    if metric != "degraded":  # where an arm has no units of its own its shadow's requests count
        in_new, in_control = in_new | (share == 0), in_control | (share == 1)
    luck = rng.random(len(hour))
    worse = np.where(is_out, how.outage_bad, 0.0)
    bad_new, bad_control = (
        luck < np.maximum(how.bad_new[metric], worse),
        luck < np.maximum(how.bad_control[metric], worse),
    )
    new, control = np.stack([in_new, in_new & bad_new], 1), np.stack([in_control, in_control & bad_control], 1)
    ends, differences = intervals(new.astype(float), control.astype(float))
    path = log_mean_exp(np.cumsum(staked_on_shares(differences, rail.limit), axis=0)) if len(ends) else np.empty(0)
    over = np.flatnonzero(path >= -np.log(alpha))
    by_test = float(hour[ends[over[0]]]) if len(over) else NEVER
    return min(by_test, _in_a_row(bad_new[in_new], hour[in_new], rail.consecutive))


def _in_a_row(bad: NDArray[np.bool_], hour: Ints, consecutive: int) -> float:
    if not consecutive or len(bad) < consecutive:
        return NEVER
    total = np.concatenate([[0], np.cumsum(bad)])
    hits = np.flatnonzero(total[consecutive:] - total[:-consecutive] == consecutive)
    return float(hour[hits[0] + consecutive - 1]) if len(hits) else NEVER


def _latency_fails(rng, hour, how: Behaviour, alpha: float) -> float:
    calls = np.unique(hour * 1000 + rng.integers(0, 20, len(hour)))  # up to twenty calls an hour
    luck = rng.random(len(calls))
    slow_new = luck < how.bad_new["latency"]
    slow_control = (luck >= how.bad_new["latency"]) & (luck < how.bad_new["latency"] + how.bad_control["latency"])
    path = log_mean_exp(np.cumsum(staked_on_shares(slow_new.astype(float) - slow_control, LATENCY_SLACK), axis=0))
    over = np.flatnonzero(path >= -np.log(alpha))
    return float(calls[over[0]] // 1000) if len(over) else NEVER


def _distance_fails(table: Table, hours: Ints, alpha: float, at_once: int = 50) -> Floats:
    found = np.full(len(hours), NEVER)
    for begin in range(0, len(hours), at_once):
        some = hours[begin : begin + at_once]
        counts = [np.cumsum(kind[some], axis=1) for kind in (table.only_new, table.only_control)]
        path = distance_log_e(*counts, np.cumsum(table.pairs[some], axis=1), LIMITS["distribution"].limit)
        over = path >= -np.log(alpha)
        found[begin : begin + at_once] = np.where(over.any(axis=1), over.argmax(axis=1), NEVER)
    return found


# whole rollouts


@dataclass(frozen=True)
class Outcome:
    """Of many rollouts: when each was rolled back, and by what. `by`: hours per metric, label evidence as `labels`."""

    by: Mapping[str, Floats]
    labels: Labels

    @cached_property
    def back_h(self) -> Floats:
        """Hours until the rollback by whichever came first."""
        return np.min(list(self.by.values()), axis=0)

    @property
    def share_back(self) -> float:
        """Share of the runs that were rolled back."""
        return float(np.isfinite(self.back_h).mean())

    def first(self) -> dict[str, int]:
        """How often each metric was the first."""
        names = list(self.by)
        winner = np.argmin([self.by[name] for name in names], axis=0)
        return {name: int((np.isfinite(self.back_h) & (winner == n)).sum()) for n, name in enumerate(names)}


def roll_out(
    traffic: Traffic,
    *,
    runs: int,
    days: int,
    seed: int,
    plan: RolloutDefinition = PLAN,
    how: Behaviour = QUIET,
    null: str = "",
    flip_hours: int = 1,
) -> Outcome:
    """`runs` whole rollouts of `days`. `null`: "" for the versions as they are, `zero` or `border` for differences with random
    signs, one per `flip_hours`, around 0 or around the margin."""
    rng = np.random.default_rng(seed)
    delay_h = round((plan.label_delay_s or DAY_S) / HOUR_S)
    table = tabulate(traffic, plan.margin, delay_h)
    hours = draw_hours(rng, runs, days, traffic.days)
    alphas = split_alpha(plan.alpha, [rail.metric for rail in GUARDRAILS], has_labels=True)
    other, made = None, None
    if null:
        other = tabulate(traffic.swapped(), plan.margin, delay_h)
        signs = rng.choice([-1.0, 1.0], (runs, -(-hours.shape[1] // flip_hours))).repeat(flip_hours, axis=1)
        made = Null(signs[:, : hours.shape[1]], plan.margin if null == "border" else 0.0)
    labels = judge_labels(table, other, hours, plan, alphas["labels"], made)
    rails = judge_rails(rng, table, hours, labels.shown_h, how, alphas)
    return Outcome({"labels": labels.harm_h, **rails}, labels)


def crash_decisions(rng: np.random.Generator, share: float, alpha: float) -> int:
    """How many of its own units' requests a version that always raises gets, without a shadow first, until it is rolled back."""
    rail = LIMITS["errors"]
    is_new = rng.random(20_000) < share
    flags = np.stack([is_new, is_new], axis=1).astype(np.float64)
    others = np.stack([~is_new, np.zeros(len(is_new))], axis=1).astype(np.float64)
    ends, differences = intervals(flags, others)
    path = log_mean_exp(np.cumsum(staked_on_shares(differences, rail.limit), axis=0))
    over = np.flatnonzero(path >= -np.log(alpha))
    by_test = int(is_new[: ends[over[0]] + 1].sum()) if len(over) else len(is_new)
    return min(by_test, rail.consecutive)
