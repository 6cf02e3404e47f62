"""Whole rollouts that are judged by their default guardrails alone, decision by decision, in the monitor's own classes.

Each rollout is a canary at the default steps with a control that scores along, and a look after every few requests. `guardrail_rows`
prints, per kind of traffic, how many rollouts are rolled back, with Clopper and Pearson's 95 % bounds.

    found    a version that fails two points more often than its control, on 2,000 requests of units of their own
    false    two equal versions on 5,000 requests of two weeks, with 1,500 units: outages of both in 1 % of hours, a client with 30 % of
             all requests that fails always (in both versions; in the new one only), error rates that follow the hour
    scores   scores of one risk that two versions know but for noise: a stale control, labels that come in 1 of 200 requests; and a
             version that learned from shuffled labels, or from flipped ones
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from bench.measure import Row, progress
from headrace.events.definition import RolloutDefinition
from headrace.events.failures import Raised
from headrace.events.inference import DecisionMade, FellBack, Refused, Score, Served
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutStarted
from headrace.events.verdicts import FAIL
from headrace.project import Canary
from headrace.project.rollouts import compile_rollout
from headrace_monitor.core.guardrail_cases import GuardrailCases
from headrace_monitor.core.guardrail_evidence import of_guardrail
from headrace_monitor.core.guardrails import split_alpha
from headrace_monitor.core.rollout_requests import RolloutRequests, Seen

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

HOUR_S = 3600.0
OLD, NEW = 1, 2
PLAN = compile_rollout("bench", Canary())
LOOK_EVERY = 20
RUNS = 200


@dataclass(frozen=True)
class Traffic:
    """What two versions do with the same requests, in order; all arrays have shape (n,).

    `at_s`, `units`: of the requests. `bad_new`, `bad_control`: where the version raises. `new`, `control`: its scores elsewhere.
    """

    at_s: Floats
    units: list[str]
    bad_new: Bools
    bad_control: Bools
    new: Floats
    control: Floats


def plain(at_s: Floats, units: list[str], bad_new: Bools, bad_control: Bools) -> Traffic:
    """Traffic in which only the failures matter: both versions score all requests alike."""
    scores = np.full(len(at_s), 0.3)
    return Traffic(at_s, units, bad_new, bad_control, scores, scores)


def rolled_back_after(traffic: Traffic, plan: RolloutDefinition = PLAN) -> tuple[int, str] | None:
    """After how many requests a canary is rolled back, and by which metric; None when it is not. Each step gets as many requests."""
    rails = {rail.metric: rail for rail in plan.guardrails}
    alphas = split_alpha(plan.alpha, list(rails), has_labels=True)
    cases = GuardrailCases(rails, {}, has_control=True)
    requests = RolloutRequests(NEW, OLD, cases, None, plan.block_s, {})
    state = RolloutJudged(
        "bench",
        RolloutStarted("bench", "r", NEW, "canary", "", plan, OLD),
        routes=dict(enumerate(plan.shares)),
        share=plan.shares[0],
    )
    made: list[Seen] = []
    for decision in decisions(traffic, plan.shares):
        made.append(Seen("decisions/0", decision.request_offset, decision))
        if len(made) < LOOK_EVERY:
            continue
        state, made = requests.take(made, state), []
        for metric, test in cases.tests.items():
            if of_guardrail(rails[metric], test, alphas[metric]).verdict == FAIL:
                return decision.request_offset + 1, metric
    return None


def decisions(traffic: Traffic, shares: tuple[float, ...]) -> Iterator[DecisionMade]:
    """The decisions as inference writes them. Each version that does not answer scores along."""
    columns = (traffic.at_s, traffic.units, traffic.bad_new, traffic.bad_control, traffic.new, traffic.control)
    for n, (at_s, unit, bad_new, bad_control, new, control) in enumerate(zip(*columns, strict=True)):
        step = n * len(shares) // len(traffic.units)
        assigned = NEW if crc32(unit.encode()) < shares[step] * 2**32 else OLD
        scores = {OLD: Score(OLD, "", float(control)), NEW: Score(NEW, "", float(new))}
        failures = {}
        for version, is_bad in ((OLD, bad_control), (NEW, bad_new)):
            if is_bad:
                del scores[version]
                failures[str(version)] = Raised("ValueError")
        answering = scores.pop(assigned, None)
        if answering is not None:
            answer = Served(answering)
        elif assigned == NEW and OLD in scores:
            answer = FellBack("previous", "it raised", scores.pop(OLD))
        else:
            answer = Refused("nothing can answer")
        yield DecisionMade(
            f"r{n}", "bench", unit, float(at_s), answer, n,
            shadows=tuple(scores.values()), route_offset=step, assigned=assigned, failures=failures,
        )  # fmt: skip


# traffic


def worse(control: float, more: float = 0.02) -> Callable[[np.random.Generator], Traffic]:
    """2,000 requests of units of their own in a day; the version fails more often than its control by so much."""

    def draw(rng: np.random.Generator, count: int = 2000) -> Traffic:
        units = [f"u{n}" for n in range(count)]
        at_s = np.sort(rng.random(count)) * 24 * HOUR_S
        return plain(at_s, units, rng.random(count) < control + more, rng.random(count) < control)

    return draw


def weeks(rng: np.random.Generator, count: int = 5000, units: int = 1500) -> tuple[Floats, list[str]]:
    """Two weeks of requests, most of them by day, of units with few requests each and of some with many."""
    hours = np.arange(14 * 24)
    busy = np.where(hours % 24 < 18, 1.0, 0.1)
    at_s = np.sort(rng.choice(hours, count, p=busy / busy.sum()) + rng.random(count)) * HOUR_S
    weights = rng.pareto(2.0, units) + 0.2
    return at_s, [f"u{n}" for n in rng.choice(units, count, p=weights / weights.sum())]


def outages(rng: np.random.Generator) -> Traffic:
    """Both versions fail always in 1 % of the hours, and in 3 of 1,000 requests otherwise."""
    at_s, units = weeks(rng)
    is_out = (rng.random(14 * 24) < 0.01)[(at_s // HOUR_S).astype(int)]
    return plain(at_s, units, *(is_out | (rng.random(len(at_s)) < 0.003) for _ in range(2)))


def broken_client(*, in_new_only: bool) -> Callable[[np.random.Generator], Traffic]:
    """30 % of all requests come from one client and always fail, in both versions or in the new one only."""

    def draw(rng: np.random.Generator) -> Traffic:
        at_s, units = weeks(rng)
        is_broken = rng.random(len(at_s)) < 0.3
        units = ["broken" if broken else unit for broken, unit in zip(is_broken, units, strict=True)]
        new, control = (rng.random(len(at_s)) < 0.003 for _ in range(2))
        return plain(at_s, units, new | is_broken, control if in_new_only else control | is_broken)

    return draw


def by_hour(rng: np.random.Generator) -> Traffic:
    """The rate of errors follows the hour of the day from 0 to 10 %, and is drawn anew for each hour around that."""
    at_s, units = weeks(rng)
    hours = np.arange(14 * 24)
    rates = 0.05 * (1 + np.sin(hours / 24 * 2 * np.pi)) * rng.gamma(2.0, 0.5, len(hours))
    rate = np.minimum(rates, 1.0)[(at_s // HOUR_S).astype(int)]
    return plain(at_s, units, *(rng.random(len(at_s)) < rate for _ in range(2)))


def scored(
    make: Callable[[Floats, Floats, np.random.Generator], Floats], base: float = -1.4
) -> Callable[[np.random.Generator], Traffic]:
    """2,000 requests whose risk differs within and between the hours. `make`: the version's log-odds from the true ones and its control's.

    `base`: the mean log-odds. The control is stale: it knows the risk with as much noise as there is risk.
    """

    def draw(rng: np.random.Generator, count: int = 2000) -> Traffic:
        units = [f"u{n}" for n in range(count)]
        at_s = np.sort(rng.random(count)) * 96 * HOUR_S
        storms = rng.normal(0, 0.7, 96)[(at_s // HOUR_S).astype(int)]
        risk = base + storms + rng.normal(0, 0.7, count)
        control = risk + rng.normal(0, 0.7, count)
        new, never = make(risk, control, rng), np.zeros(count, dtype=bool)
        return Traffic(at_s, units, never, never, *(1 / (1 + np.exp(-odds)) for odds in (new, control)))

    return draw


def good(risk: Floats, _control: Floats, rng: np.random.Generator) -> Floats:
    """A retrain: it knows the risk better than its stale control, and lies a little lower."""
    return risk - 0.2 + rng.normal(0, 0.4, len(risk))


def shuffled(risk: Floats, _control: Floats, rng: np.random.Generator) -> Floats:
    """Without any skill."""
    return np.full(len(risk), risk.mean()) + rng.normal(0, 0.3, len(risk))


def flipped(risk: Floats, _control: Floats, rng: np.random.Generator) -> Floats:
    """It learned the opposite."""
    return -good(risk, risk, rng)


# rows


def rollbacks(name: str, draw: Callable[[np.random.Generator], Traffic], runs: int, seed: int) -> tuple[int, list[int]]:
    """How many of the rollouts are rolled back, and after how many requests each of those."""
    ends: list[int] = []
    by: dict[str, int] = {}
    for run in range(runs):
        found = rolled_back_after(draw(np.random.default_rng([seed, run])))
        if found is not None:
            ends.append(found[0])
            by[found[1]] = by.get(found[1], 0) + 1
    progress(f"{name}: {len(ends)} of {runs} rolled back {by or ''}")
    return len(ends), ends


def guardrail_rows(runs: int = RUNS) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    for rate in (0.003, 0.0):
        name = f"rollouts.guardrails.two_points_worse_than_{rate:g}"
        count, ends = rollbacks(name, worse(rate), runs, seed=31)
        rows.append(_at_least(f"{name}.rolled_back_within_2000", count, runs, 0.95))
        rows.append(
            _row(f"{name}.requests", float(np.median(ends or [np.inf])), "requests, median", "told", True, runs)
        )
    harmless = {
        "outages_of_both_in_1_percent_of_hours": outages,
        "broken_client_in_both": broken_client(in_new_only=False),
        "broken_client_in_the_new_one_only": broken_client(in_new_only=True),
        "errors_that_vary_by_hour": by_hour,
        "scores_of_a_good_retrain": scored(good),
        "scores_of_a_good_retrain_of_a_rare_label": scored(good, base=-5.5),
    }
    for seed, (name, draw) in enumerate(harmless.items()):
        count, _ = rollbacks(name, draw, runs // 2, seed=41 + seed)
        rows.append(_at_most(f"rollouts.guardrails.{name}.rolled_back", count, runs // 2, 0.05))
    harmful = {
        "shuffled": scored(shuffled),
        "flipped": scored(flipped),
        "shuffled_rare": scored(shuffled, base=-5.5),
        "flipped_rare": scored(flipped, base=-5.5),
    }
    for seed, (name, draw) in enumerate(harmful.items()):
        count, _ = rollbacks(name, draw, runs // 4, seed=51 + seed)
        rows.append(_at_least(f"rollouts.guardrails.{name}.rolled_back_within_2000", count, runs // 4, 0.95))
    return rows


def interval(count: int, runs: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % bounds of a share."""
    lower = float(beta.ppf(0.025, count, runs - count + 1)) if count else 0.0
    upper = float(beta.ppf(0.975, count + 1, runs - count)) if count < runs else 1.0
    return lower, upper


def _at_most(name: str, count: int, runs: int, limit: float) -> Row:
    lower, upper = interval(count, runs)
    return _row(name, count / runs, f"share, 95 % {lower:.3f}-{upper:.3f}", f"<= {limit}", count / runs <= limit, runs)


def _at_least(name: str, count: int, runs: int, limit: float) -> Row:
    lower, upper = interval(count, runs)
    return _row(name, count / runs, f"share, 95 % {lower:.3f}-{upper:.3f}", f">= {limit}", count / runs >= limit, runs)


def _row(name: str, value: float, unit: str, demanded: str, met: bool, runs: int) -> Row:
    return Row(name, value, unit, None, None, None, demanded, met, runs, 0.0, 0.0)
