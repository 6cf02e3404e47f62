"""The rule of outcomes as plain loops over plain values, and histories of users to test it: 20 requests each, overlapping
horizons, corrections (of corrections, of nothing, before what they correct), repeats, and events of the same user."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

HOUR = 3600.0
SKEW = 300.0


@dataclass(frozen=True)
class Request:
    id: str
    unit: str
    at_s: float


@dataclass(frozen=True)
class Outcome:
    id: str
    unit: str
    known_s: float
    value: float
    request: str | None = None
    corrects: str | None = None
    arrives_s: float = 0.0


def label_by_loops(
    request: Request, outcomes: Sequence[Outcome], horizon_s: float, clock_s: float = math.inf, absent: str = "unknown"
) -> float:
    """The label of one request; NaN where there is none. `outcomes`: in the order of the log."""
    mine: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.unit == request.unit and outcome.id not in mine:
            mine[outcome.id] = outcome
    over_s = request.at_s + horizon_s
    until_s = min(over_s, clock_s)
    plain = [outcome for outcome in mine.values() if outcome.corrects is None]
    own = [o for o in plain if o.request == request.id and request.at_s - SKEW <= o.known_s <= until_s]
    of_unit = [o for o in plain if o.request is None and request.at_s <= o.known_s <= until_s]
    if not (own or of_unit):
        return 0.0 if absent == "negative" and clock_s >= over_s else math.nan
    chosen = min(own or of_unit, key=lambda o: o.known_s)
    value, since_s = chosen.value, -math.inf
    for outcome in mine.values():
        if outcome.corrects is not None:
            chain = _chain(outcome, mine)
            known_s = max(o.known_s for o in chain)
            if chain[-1] is chosen and since_s <= known_s <= until_s:
                value, since_s = outcome.value, known_s
    return value


def _chain(outcome: Outcome, mine: dict[str, Outcome]) -> list[Outcome]:
    """The chain of a correction and the outcomes that it corrects. It ends with a correction if that corrects nothing."""
    chain = [outcome]
    while (wanted := chain[-1].corrects) is not None and wanted in mine and mine[wanted] not in chain:
        chain.append(mine[wanted])
    return chain


def history(seed: int, users: int = 6, horizon_s: float = 6 * HOUR) -> tuple[list[Request], list[Outcome]]:
    """Requests, and outcomes in the order of the log. Instants lie on a grid of minutes, so that they meet."""
    rng = random.Random(seed)
    requests, outcomes = [], []
    for user in range(users):
        unit = f"user {user}"
        asked = [Request(f"{unit} r{n}", unit, 60.0 * rng.randrange(120 * 60)) for n in range(20)]
        own: list[Outcome] = []
        for request in asked:
            own += _of_request(request, rng, horizon_s, len(own))
        for n in range(8):
            known_s = 60.0 * rng.randrange(130 * 60)
            own.append(Outcome(f"{unit} event {n}", unit, known_s, float(rng.randrange(2))))
        for n in range(16):
            own.append(_correction(own, n, rng))
        own += [Outcome(f"stranger {user}", f"stranger {user}", 0.0, 1.0)]
        own += [_again(rng.choice(own), rng) for _ in range(6)]
        rng.shuffle(own)
        # Most outcomes arrive when they become known, some much later.
        own = [replace(o, arrives_s=o.known_s + (rng.random() < 0.1) * rng.uniform(0.0, 30 * HOUR)) for o in own]
        requests += asked
        outcomes += own
    return sorted(requests, key=lambda r: r.at_s), sorted(outcomes, key=lambda o: o.arrives_s)


def _of_request(request: Request, rng: random.Random, horizon_s: float, number: int) -> list[Outcome]:
    if rng.random() < 0.4:
        return []
    known_s = request.at_s + 60.0 * rng.randrange(-8, int(1.5 * horizon_s / 60))
    named = request.id if rng.random() < 0.5 else None
    return [Outcome(f"{request.id} o{number}", request.unit, known_s, float(rng.randrange(2)), named)]


def _correction(own: list[Outcome], number: int, rng: random.Random) -> Outcome:
    right = rng.choice(own)
    corrects = right.id if rng.random() < 0.85 else "never sent"
    known_s = right.known_s + 60.0 * rng.randrange(-30, 300)
    ident = f"{right.unit} fix {number}"
    return Outcome(ident, right.unit, known_s, float(rng.randrange(2)), None, corrects)


def _again(outcome: Outcome, rng: random.Random) -> Outcome:
    """The same id again, with another value and instant."""
    return replace(outcome, known_s=outcome.known_s + 60.0, value=1.0 - outcome.value)
