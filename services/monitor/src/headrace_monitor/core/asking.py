"""When the trainer is asked, and asked again: one machine per reason to ask (an open finding, the first version, rows after a change).

| state    | it is when                   | what ends it                                                                           |
|----------|------------------------------|----------------------------------------------------------------------------------------|
| ready    | no request is under way      | its instant and its number of labelled rows are there: it asks                          |
| asked    | a request has no end yet     | refused: ready, not before the instant that the refusal names, else in `AGAIN_WINDOWS`  |
|          |                              | waiting: ready when the rows that are missing are there                                 |
|          |                              | rejected: unhelpful, ready when the rows beyond the change have grown by half           |
|          |                              | failed: unhelpful, ready in `AGAIN_WINDOWS`                                             |
|          |                              | registered: tried                                                                       |
| tried    | a version came of it         | the figure is back: the finding is resolved, and all of this is forgotten               |
|          |                              | not back in `JUDGED_WINDOWS` of its windows, or never champion: unhelpful, ready        |
| given up | so many were unhelpful       | the finding is resolved                                                                 |

A finding has one request under way at the most. What follows a change up asks when the rows beyond it have grown by half since the last
run, until that had ten times what a run waits for: the first version after a change has few rows, and no finding would say so. One that rests on older
rows for the most part has many: half as many new ones more would show little, so it is followed up when there are five times as many, which may outweigh the older ones.
"""

from msgspec.structs import replace

from headrace.events.monitor import RetrainAsk
from headrace.events.training import (
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.log.envelope import derived_id

FIRST, FOLLOW_UP = "first", "follow_up"
AGAIN_WINDOWS = 7
JUDGED_WINDOWS = 2
# A rollout takes its time; a version that is not champion after so many windows has not helped.
MOST_WINDOWS = 60
GROWTH, ENOUGH = 1.5, 10
# Of more than so many times the rows beyond the change most lie before it; such a version waits for those to have grown by so much.
RESTS_ON, OUTWEIGHS = 2, 5

TrainingFact = RetrainAccepted | RetrainCoalesced | RetrainRefused | TrainingFinished


def request_id_of(request: RetrainRequested) -> str:
    """The id under which a request is written: the same whenever it is made again."""
    return derived_id("retrain", request.deployment, request.cause, request.finding, request.clock_s)


def may_ask(ask: RetrainAsk, clock_s: float, labelled: int, most: int) -> bool:
    """Whether it asks now. `labelled`: rows so far; `most`: so many unhelpful runs are the end."""
    is_ready = ask.request_id is None and not ask.tried and not has_given_up(ask, most)
    return is_ready and clock_s >= ask.not_before_s and labelled >= ask.needs_labelled


def has_given_up(ask: RetrainAsk, most: int) -> bool:
    """Whether it asks no more."""
    return ask.key not in (FIRST, FOLLOW_UP) and ask.unhelpful >= most


def asked(ask: RetrainAsk, request: RetrainRequested, champion: int | None, labelled: int) -> RetrainAsk:
    """A request is under way."""
    under_way = replace(ask, asked=ask.asked + 1, request_id=request_id_of(request), run=None)
    return replace(under_way, champion=champion, asked_at=labelled)


def on_fact(ask: RetrainAsk, fact: TrainingFact, clock_s: float, width_s: float) -> RetrainAsk:
    """What the trainer said, if it is about this. `width_s`: of a window.

    NB: a run has the rows that there were when it was asked for; those that came since are counted towards the next one, however late it is told.
    """
    match fact:
        case RetrainAccepted() | RetrainCoalesced() if fact.request_id == ask.request_id:
            return replace(ask, run=fact.run)
        case RetrainRefused() if fact.request_id == ask.request_id:
            later_s = fact.again_at_s if fact.again_at_s is not None else clock_s + AGAIN_WINDOWS * width_s
            return replace(ask, request_id=None, not_before_s=later_s)
        case TrainingFinished() if ask.run is not None and fact.run == ask.run:
            return _on_finished(ask, fact, clock_s, width_s)
        case _:
            return ask


def _on_finished(ask: RetrainAsk, finished: TrainingFinished, clock_s: float, width_s: float) -> RetrainAsk:
    over = replace(ask, request_id=None, run=None, windows=0, rows_at=ask.asked_at)
    over = replace(over, rows=finished.rows_after_change or over.rows, wanted=finished.rows_wanted or over.wanted)
    if ask.key == FOLLOW_UP:
        return replace(over, needs_labelled=_grown(over, _growth(finished)))
    match finished.outcome:
        case "waiting":
            return replace(over, needs_labelled=over.rows_at + max(finished.missing_rows, 1))
        case "registered" if finished.is_released:
            return replace(over, tried=True, changed_at_s=finished.changed_at_s or ask.changed_at_s)
        case _ if ask.key == FIRST:
            return replace(over, not_before_s=clock_s + AGAIN_WINDOWS * width_s)
        case "failed":
            return replace(over, unhelpful=ask.unhelpful + 1, not_before_s=clock_s + AGAIN_WINDOWS * width_s)
        case _:
            return _rejected(replace(over, unhelpful=ask.unhelpful + 1), clock_s, width_s)


def _rejected(over: RetrainAsk, clock_s: float, width_s: float) -> RetrainAsk:
    """The same rows would say the same; where no change is known that more rows could lie beyond, time must bring others."""
    if over.rows:
        return replace(over, needs_labelled=_grown(over))
    return replace(over, not_before_s=clock_s + AGAIN_WINDOWS * width_s)


def on_window(ask: RetrainAsk, *, is_judged: bool) -> RetrainAsk:
    """A window has closed in which the figure was not back. `is_judged`: it was one of the version that came of the last run."""
    if not ask.tried:
        return ask
    windows = ask.windows + 1
    is_over = windows >= MOST_WINDOWS or (is_judged and windows >= JUDGED_WINDOWS)
    return replace(ask, tried=False, unhelpful=ask.unhelpful + 1) if is_over else replace(ask, windows=windows)


def follow_up(finished: TrainingFinished, labelled: int) -> RetrainAsk | None:
    """What a version that follows a change is followed up by; None where it follows none, or had rows enough. `labelled`: rows when it was asked for."""
    if finished.changed_at_s is None or not finished.rows_wanted:
        return None
    found = RetrainAsk(
        FOLLOW_UP,
        changed_at_s=finished.changed_at_s,
        rows=finished.rows_after_change,
        rows_at=labelled,
        wanted=finished.rows_wanted,
    )
    return None if has_enough(found) else replace(found, needs_labelled=_grown(found, _growth(finished)))


def has_enough(ask: RetrainAsk) -> bool:
    """Whether the last run had so many rows beyond the change that more would show little."""
    return ask.rows >= ENOUGH * ask.wanted


def _growth(finished: TrainingFinished) -> float:
    """By how much rows beyond the change must have grown to be worth another run."""
    return OUTWEIGHS if finished.trained_rows > RESTS_ON * finished.rows_after_change else GROWTH


def _grown(ask: RetrainAsk, growth: float = GROWTH) -> int:
    """How many labelled rows there are in all when those beyond the change have grown so."""
    return ask.rows_at + max(round((growth - 1) * ask.rows), 1)
