"""Traffic of each deployment in time, from the counts that instances of inference report.

A report holds counts since the start of its instance; two reports of one process are subtracted. A process that started
anew counts from zero. Amounts lie in slots of `SLOT_S` by the instant of the report (wall clock); the figures of the table
are those of the last whole slots that make a minute. Slots without any report of inference are unknown, not zero.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from headrace.events.ops import DeploymentTraffic, HealthReported
from headrace.latency import added, between, quantile_s
from headrace_console.core.documents import TrafficPoint

SLOT_S, SLOTS = 5, 12
MINUTE_S, HOUR_S = 60, 3600
SPARK_MINUTES = 30
INSTANCES_KEPT = 256
# A process whose first report comes within this after its start is counted from zero.
YOUNG_S = 15.0
FELL_BACK = ("champion", "previous", "baseline", "prior")
ANSWERED = ("served", *FELL_BACK)


class Amount(msgspec.Struct, frozen=True, gc=False):
    """What was answered in a stretch of time: counts by outcome, by version (digits), and durations in buckets."""

    outcomes: dict[str, int] = {}
    versions: dict[str, int] = {}
    latency: tuple[int, ...] = ()

    @property
    def answers(self) -> int:
        """How many requests were answered."""
        return sum(self.outcomes.get(name, 0) for name in ANSWERED)


_NOTHING = Amount()


class Figures(msgspec.Struct, frozen=True):
    """The last minute. `per_s`: answers; `fallback_share`: of the answers; `outcomes`: counts with their step."""

    per_s: float | None = None
    p99_ms: float | None = None
    fallback_share: float | None = None
    outcomes: dict[str, int] = {}


class Traffic:
    """The traffic of all deployments, fed with reports. `closed`: whole minutes that are to be kept, see `take_closed`."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Mapping[str, DeploymentTraffic]]] = {}
        self._slots: deque[tuple[int, dict[str, Amount]]] = deque(maxlen=SLOTS + 1)
        self._minute: tuple[int, dict[str, Amount]] | None = None
        self._answers: deque[tuple[int, dict[str, int]]] = deque(maxlen=SPARK_MINUTES)
        self._closed: list[tuple[int, dict[str, Amount]]] = []
        self._is_first = True

    def take(self, report: HealthReported, seen_s: float) -> bool:
        """Take a report. Returns whether a slot was closed by it, so that figures may have changed."""
        if report.service != "inference":
            return False
        has_closed = self._advance(seen_s)
        if not report.traffic:
            return has_closed
        key = f"{report.service}/{report.instance}"
        known = self._last.pop(key, None)
        self._last[key] = (report.started_s, report.traffic)
        while len(self._last) > INSTANCES_KEPT:
            del self._last[next(iter(self._last))]
        if known is not None and known[0] == report.started_s:
            before = known[1]
        elif known is not None or seen_s - report.started_s <= YOUNG_S:
            before = {}
        else:
            return has_closed
        for name, counts in report.traffic.items():
            amount = _since(before.get(name), counts)
            if amount is not None:
                self._add(name, amount)
        return has_closed

    def advance(self, now_s: float) -> bool:
        """Let time pass without reports: slots that nobody reported in are unknown. Returns whether figures changed."""
        if not self._slots or int(now_s) // SLOT_S <= self._slots[-1][0] + 1:
            return False
        while self._slots and self._slots[0][0] < int(now_s) // SLOT_S - SLOTS - 1:
            self._slots.popleft()
        return True

    def names(self) -> set[str]:
        """The deployments with traffic in the last minute."""
        return {name for _, amounts in self._slots for name in amounts}

    def figures(self, deployment: str, now_s: float) -> Figures:
        """The last minute of a deployment; None everywhere where inference reported nothing."""
        newest = int(now_s) // SLOT_S
        heard = [amounts for slot, amounts in self._slots if newest - SLOTS <= slot < newest]
        if not heard:
            return Figures()
        total = together([amounts.get(deployment, _NOTHING) for amounts in heard])
        fell_back = sum(total.outcomes.get(name, 0) for name in FELL_BACK)
        p99_s = quantile_s(total.latency, 0.99) if total.latency else None
        return Figures(
            round(total.answers / (SLOT_S * len(heard)), 2),
            None if p99_s is None else round(p99_s * 1000, 1),
            round(fell_back / total.answers, 4) if total.answers else None,
            named_outcomes(total.outcomes),
        )

    def spark(self, deployment: str, now_s: float) -> tuple[float | None, ...]:
        """Answers per second in each of the last whole minutes, oldest first; None where inference reported nothing."""
        known = dict(self._answers)
        last = int(now_s) // MINUTE_S
        minutes = range(last - SPARK_MINUTES, last)
        return tuple(
            round(known[minute].get(deployment, 0) / MINUTE_S, 2) if minute in known else None for minute in minutes
        )

    def recall(self, minute: int, answers: dict[str, int]) -> None:
        """Take the answers of a minute that was kept by an earlier process, oldest first."""
        self._answers.append((minute, answers))

    def take_closed(self) -> list[tuple[int, dict[str, Amount]]]:
        """The minutes (since the epoch) that closed since the last call, by deployment."""
        found, self._closed = self._closed, []
        return found

    def _advance(self, seen_s: float) -> bool:
        slot, minute = int(seen_s) // SLOT_S, int(seen_s) // MINUTE_S
        if self._minute is None or minute > self._minute[0]:
            # NB: of the first minute nobody knows how it began.
            if self._minute is not None and not self._is_first:
                self._closed.append(self._minute)
                done, amounts = self._minute
                self._answers.append((done, {name: amount.answers for name, amount in amounts.items()}))
            self._is_first = self._minute is None
            self._minute = (minute, {})
        if not self._slots or slot > self._slots[-1][0]:
            self._slots.append((slot, {}))
            return True
        return False

    def _add(self, name: str, amount: Amount) -> None:
        for amounts in (self._slots[-1][1], self._minute[1] if self._minute is not None else {}):
            known = amounts.get(name)
            amounts[name] = amount if known is None else together([known, amount])


def _since(before: DeploymentTraffic | None, after: DeploymentTraffic) -> Amount | None:
    """What came between two reports; None for nothing."""
    if before is None:
        return Amount(dict(after.outcomes), dict(after.versions), tuple(after.latency))
    outcomes = _less(before.outcomes, after.outcomes)
    if not outcomes:
        return None
    return Amount(outcomes, _less(before.versions, after.versions), between(before.latency, after.latency))


def _less(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    found = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in found.items() if count > 0}


def together(amounts: Sequence[Amount]) -> Amount:
    """The sum of several amounts."""
    outcomes: dict[str, int] = {}
    versions: dict[str, int] = {}
    for amount in amounts:
        for name, count in amount.outcomes.items():
            outcomes[name] = outcomes.get(name, 0) + count
        for name, count in amount.versions.items():
            versions[name] = versions.get(name, 0) + count
    return Amount(outcomes, versions, added([amount.latency for amount in amounts if amount.latency]))


def named_outcomes(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Outcomes by their names in documents: the step of a fallback belongs to `fell_back`.

    >>> named_outcomes({"served": 3, "prior": 1})
    {'served': 3, 'fell_back.prior': 1}
    """
    return {f"fell_back.{name}" if name in FELL_BACK else name: count for name, count in outcomes.items()}


def point_of(amount: Amount, width_s: float) -> TrafficPoint:
    """An amount as a point of the charts."""
    p50_s, p99_s = (quantile_s(amount.latency, share) if amount.latency else None for share in (0.5, 0.99))
    return TrafficPoint(
        named_outcomes(amount.outcomes),
        amount.versions,
        None if p50_s is None else round(p50_s * 1000, 2),
        None if p99_s is None else round(p99_s * 1000, 2),
        width_s,
    )
