"""Faults that are planted into streams of real weeks: how soon each is found, as what, and what else pages.

A trial is a deployment with a reference of twelve weeks, as in `monitor_false_alarms`, two to four clean weeks, and a fault
that lasts from an instant on. Weeks and instants are drawn from a seed. The first window is therefore broken in part, and a
delay counts from the fault to the instant of the deployment's clock at which the finding opens: by labels that is behind the
end of a window and the labels of 98 % of its requests, which take half a day more. What is not found counts as infinite.
Scores behind a fault of rows are those that the same models give to the broken rows.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.monitor_inputs import SILENT_DAYS, WHOLE_DAYS, Inputs, available_of, silent_after_s, with_columns
from bench.monitor_streams import REFERENCE_DAYS, Closed, Days, Requests, Watch, days_of, draw_weeks
from bench.monitor_weeks import DAY_S, FAULTS, WEEKS, Weeks, streaming_views
from headrace.events.monitor import FindingOpened
from headrace.events.references import VersionReference
from headrace.events.registry import Signature
from headrace_flights.schedule import EPOCH_S
from headrace_monitor.core.budget import PAGE
from headrace_monitor.core.charts import PAGING

Floats = NDArray[np.float64]

SEED, ONSETS = 20_260_047, 24
CLEAN_DAYS, WATCHED_DAYS, RAMP_DAYS, ROWS_DAYS, LOOKED_DAYS = (14, 28), 21, 75, 4, 4
# A demand in minutes is read as within an hour; weather comes once an hour per station.
SOURCES = {"departures": 3600.0, "landings": 3600.0, "weather": None}
FLIPPED_SHARE = 0.3

# What a day's requests become; the second value is the days from the fault to the middle of the day.
Change = Callable[[Requests, float], Requests]


@dataclass(frozen=True)
class Fault:
    """`kinds`: the kinds of findings that name it. `about`: what these must be about, () for anything. `within_s`: the demanded
    median delay; None where only a figure is stated. `full_after_days`: it grows for so long; None for a fault that is the same
    on every day, whose days are kept.
    """

    name: str
    change: Change
    kinds: tuple[str, ...]
    about: tuple[str, ...]
    within_s: float | None = None
    full_after_days: float | None = None
    watched_days: int = WATCHED_DAYS

    def is_named_by(self, found: FindingOpened) -> bool:
        """Whether a finding is the right one."""
        return found.kind in self.kinds and not {found.about, *_moved(found)}.isdisjoint(self.about)


@dataclass(frozen=True)
class Trial:
    """`delay_s`: until the right finding, inf without one. `named`: its kind and what it is about. `others`: other pages since
    the fault, in order; `others_first`: how many of them came before the right finding.
    """

    delay_s: float
    named: str
    others: tuple[str, ...]
    others_first: int


# Faults of labels and scores


def flipped(requests: Requests, share: float, salt: int = 0) -> Requests:
    """The labels of that share of the requests turned around, drawn from the requests' own instants."""
    rng = np.random.default_rng((SEED, salt, int(requests.at_s[0]) if len(requests) else 0))
    turned = rng.random(len(requests)) < share
    return replace(requests, label=np.where(turned, 1 - requests.label, requests.label))


def ramp(days: float) -> Change:
    """Ever more flipped labels: after so many days as many as by `FLIPPED_SHARE`, and no more behind them."""
    return lambda requests, since: flipped(requests, FLIPPED_SHARE * min(max(since / days, 0.0), 1.0), int(days))


DRIFT = ("drift",)
LABEL_FAULTS = (
    Fault("flipped_30", lambda r, _: flipped(r, FLIPPED_SHARE), DRIFT, PAGING, 3 * DAY_S),
    Fault("flipped_all", lambda r, _: replace(r, label=1 - r.label), DRIFT, PAGING, 2 * DAY_S),
    Fault("squared", lambda r, _: replace(r, score=r.score**2), DRIFT, ("calibration", "slope", "level")),
    *(Fault(f"ramp_{n}_days", ramp(n), DRIFT, PAGING, None, n, RAMP_DAYS) for n in (10, 30, 60)),
)


# Faults of rows


def row_faults(signature: Signature) -> tuple[Fault, ...]:
    """Those of `monitor_weeks.FAULTS`, each with the columns that name it."""
    views = streaming_views()
    streams = [pin.name for pin in signature.columns if pin.name.partition(".")[0] in views]
    columns = {
        "streams_null": streams, "miles_to_km": ["distance_miles"], "carrier_renamed": ["carrier"], "hour_in_utc": ["hour"]
    }  # fmt: skip
    return tuple(
        Fault(
            name, _broken(name, signature), ("contract", "inputs"), (*named, *(f"inputs.{one}" for one in named)), DAY_S,
            watched_days=ROWS_DAYS,
        )
        for name, named in columns.items()
    )  # fmt: skip


def _broken(name: str, signature: Signature) -> Change:
    return lambda requests, _: replace(
        requests, rows=FAULTS[name](requests.rows, signature), score=requests.broken[name]
    )


def _moved(found: FindingOpened) -> list[str]:
    return [] if found.evidence is None else [moved.column for moved in found.evidence.moved]


# Trials


@dataclass(frozen=True)
class Onset:
    """`weeks`: the recorded weeks of a trial. `at_day`: the instant of the fault, in days of the stream. `at_share`: the same as
    a share of the recorded year, for faults that are not planted into a stream.
    """

    weeks: NDArray[np.int64]
    at_day: float
    at_share: float


def onsets(count: int = ONSETS, seed: int = SEED) -> list[Onset]:
    """The trials, from a seed."""
    low, high = CLEAN_DAYS
    weeks = draw_weeks(seed, count, math.ceil((REFERENCE_DAYS + high + RAMP_DAYS) / 7) + 1)
    rng = np.random.default_rng(seed + 1)
    at, shares = rng.uniform(REFERENCE_DAYS + low, REFERENCE_DAYS + high, count), rng.random(count)
    return [Onset(*drawn) for drawn in zip(weeks, at.tolist(), shares.tolist(), strict=True)]


def tried(days: Days, fault: Fault, onset: Onset, reference: VersionReference | None = None) -> Trial:
    """A fault at one onset. `reference`: with the columns of the rows, where these are to be looked at."""
    recorded, at_s = days_of(onset.weeks), EPOCH_S + onset.at_day * DAY_S
    usual = reference or days.reference(recorded[:REFERENCE_DAYS])
    opened = list(_by_windows(days, fault, onset, Watch(days.deployment, usual)))
    if reference is not None:
        opened += _by_inputs(days, fault, onset, Watch(days.deployment, usual))
    since = sorted((found for found in opened if found.at_s > at_s), key=lambda found: found.at_s)
    right = next((found for found in since if fault.is_named_by(found)), None)
    others = [found for found in since if found.severity == PAGE and not fault.is_named_by(found)]
    delay_s = math.inf if right is None else right.at_s - at_s
    first = sum(found.at_s - at_s < delay_s for found in others)
    return Trial(delay_s, "" if right is None else _named(right), tuple(map(_named, others)), first)


def _by_windows(days: Days, fault: Fault, onset: Onset, watch: Watch) -> Iterator[FindingOpened]:
    """What opens while windows close."""
    recorded = days_of(onset.weeks)
    for number in range(REFERENCE_DAYS, math.ceil(onset.at_day) + fault.watched_days):
        for fact in watch.on_closed(_day(days, fault, onset, number, int(recorded[number])), number):
            if isinstance(fact, FindingOpened):
                yield fact


def _by_inputs(days: Days, fault: Fault, onset: Onset, watch: Watch) -> Iterator[FindingOpened]:
    """What opens while requests come, from some days before the fault."""
    recorded, inputs = days_of(onset.weeks), Inputs(watch, days.weeks.signature)
    begin = math.floor(onset.at_day)
    for number in range(begin - LOOKED_DAYS, begin + fault.watched_days):
        yield from inputs.day(
            _requests(days, fault, onset, number, int(recorded[number])), number, int(recorded[number])
        )


def _named(found: FindingOpened) -> str:
    return f"{found.kind} {found.about}".strip()


def _day(days: Days, fault: Fault, onset: Onset, number: int, recorded: int) -> Closed:
    """The window of day `number` of the stream: sound before the fault, broken behind it, in part on its day."""
    since = number + 0.5 - onset.at_day
    if number + 1 <= onset.at_day:
        return days.closed(recorded)
    if number >= onset.at_day and fault.full_after_days is None:
        return days.closed(recorded, fault.name, lambda found, day: fault.change(found, since))
    return days.close(_requests(days, fault, onset, number, recorded), recorded)


def _requests(days: Days, fault: Fault, onset: Onset, number: int, recorded: int) -> Requests:
    """The requests of day `number` of the stream."""
    sound = days.requests(recorded)
    if number + 1 <= onset.at_day:
        return sound
    changed = fault.change(sound, number + 0.5 - onset.at_day)
    is_broken = sound.at_s >= EPOCH_S + (recorded + onset.at_day - number) * DAY_S
    columns = {name: np.where(is_broken, getattr(changed, name), getattr(sound, name)) for name in ("label", "score")}
    return replace(sound, rows=np.where(is_broken[:, None], changed.rows, sound.rows), **columns)


# Figures


@dataclass(frozen=True)
class Figures:
    """Of all trials of a fault. Delays in seconds."""

    fault: Fault
    trials: Sequence[Trial]

    @property
    def delays_s(self) -> Floats:
        """Ascending; inf where it was missed."""
        return np.sort([trial.delay_s for trial in self.trials])

    def quantile_s(self, share: float) -> float:
        """The delay that this share of the trials keeps; inf where too many missed."""
        return float(np.quantile(self.delays_s, share, method="higher"))

    @property
    def missed(self) -> int:
        """Trials without a right finding."""
        return int(np.isinf(self.delays_s).sum())

    @property
    def names(self) -> Counter[str]:
        """What the right findings were about."""
        return Counter(trial.named for trial in self.trials if math.isfinite(trial.delay_s))

    @property
    def others(self) -> Counter[str]:
        """Other pages, by the number of trials that had them."""
        return Counter(name for trial in self.trials for name in set(trial.others))

    @property
    def others_first(self) -> int:
        """Trials in which something else paged before the right finding."""
        return sum(trial.others_first > 0 for trial in self.trials)


def row_trials(days: Days, onset: Onset) -> list[Trial]:
    """A trial of each fault of `row_faults` at one onset."""
    reference = with_columns(days, days_of(onset.weeks)[:REFERENCE_DAYS])
    return [tried(days, fault, onset, reference) for fault in row_faults(days.weeks.signature)]


def source_figures(weeks: Weeks, drawn: Sequence[Onset]) -> list[Figures]:
    """All trials of sources that stop, at instants of the real year."""
    at = [EPOCH_S + (WHOLE_DAYS + onset.at_share * (7 * WEEKS - WHOLE_DAYS - SILENT_DAYS)) * DAY_S for onset in drawn]
    found = []
    for source, within_s in SOURCES.items():
        available = available_of(source)
        delays_s = [silent_after_s(available, weeks, at_s) for at_s in at]
        fault = Fault(f"{source}_stopped", lambda requests, _: requests, ("traffic",), (source,), within_s)
        found.append(Figures(fault, [Trial(s, f"traffic {source}" if s < math.inf else "", (), 0) for s in delays_s]))
    return found
