"""What becomes of one reason to ask for a retrain: a machine of its own, which is a `RetrainAsk`.

| state    | it is when                   | what ends it                                                                             |
|----------|------------------------------|------------------------------------------------------------------------------------------|
| ready    | no request is under way      | its instant and its number of labelled rows are there: it asks                            |
| asked    | a request has no end yet     | refused: ready, not before the instant that the refusal names, else in `AGAIN_WINDOWS`    |
|          |                              | waiting: ready when the rows that are missing are there                                   |
|          |                              | rejected: ready when the rows beyond the change have grown by half; unhelpful unless they |
|          |                              | were few: then more of them may pass                                                      |
|          |                              | failed: unhelpful, ready in `AGAIN_WINDOWS`                                               |
|          |                              | registered: tried                                                                         |
| tried    | a version came of it         | the figure is back: the finding is resolved, and all of this is forgotten                 |
|          |                              | not back in `JUDGED_WINDOWS` of its windows: ready, and unhelpful unless a gain is shown  |
|          |                              | never champion: unhelpful, ready                                                          |
| given up | so many were unhelpful       | the finding is resolved                                                                   |

A reason that follows a change up asks when the rows beyond the change have grown by half since the last run, until that run
had ten times the rows that it waits for: the first version after a change has few rows, and no finding would say so. A version
that rests mostly on rows from before the change has many rows already, so half as many new ones would show little: it is
followed up when there are five times as many, which may outweigh the older ones.

A schedule, and new rows, are ready and asked only: whatever became of a request, the next one comes at the next instant, or
after as many rows more. They count from the newest version, whoever asked for it. A run that was asked for by hand, or by a
finding that is resolved since, is a reason of its own (`run`) until it ends, so that nobody else asks meanwhile.
"""

import math

from msgspec.structs import replace

from headrace import cron
from headrace.events.policies import RetrainingDefinition
from headrace.events.training import RetrainAccepted, RetrainAsk, RetrainCoalesced, RetrainRefused, TrainingFinished

# Keys of the reasons that are no findings.
FIRST, FOLLOW_UP, SCHEDULE, NEW_ROWS, RUN = "first", "follow_up", "schedule", "new_rows", "run"
DECLARED = (SCHEDULE, NEW_ROWS)
NO_FINDINGS = (FIRST, FOLLOW_UP, *DECLARED, RUN)
AGAIN_WINDOWS = 7
JUDGED_WINDOWS = 2
# A rollout takes its time: a version that is not champion after so many windows has not helped.
MOST_WINDOWS = 60
GROWTH, ENOUGH = 1.5, 10
# A version rests on older rows when it was trained on more than RESTS_ON times the rows beyond the change; then those must
# grow by OUTWEIGHS.
RESTS_ON, OUTWEIGHS = 2, 5

TrainingFact = RetrainAccepted | RetrainCoalesced | RetrainRefused | TrainingFinished


def may_ask(ask: RetrainAsk, clock_s: float, labelled: int, gives_up_after: int) -> bool:
    """Whether a reason asks now. `labelled`: how many rows had a label so far."""
    is_ready = ask.request_id is None and not ask.tried and not has_given_up(ask, gives_up_after)
    return is_ready and clock_s >= ask.not_before_s and labelled >= ask.needs_labelled


def has_given_up(ask: RetrainAsk, gives_up_after: int) -> bool:
    """Whether a reason asks no more because so many retrains in a row were unhelpful; only findings give up."""
    return ask.key not in NO_FINDINGS and ask.unhelpful >= gives_up_after


def due_s(ask: RetrainAsk, policy: RetrainingDefinition) -> float:
    """The instant at which a schedule asks next; inf for never."""
    since_s = ask.asked_s or 0.0
    if policy.every_s is not None:
        return since_s + policy.every_s
    return cron.next_s(policy.cron, since_s) if policy.cron else math.inf


def counted_from(ask: RetrainAsk, clock_s: float, labelled: int) -> RetrainAsk:
    """A schedule, or new rows, from a version on that was asked for at `clock_s`, with so many labelled rows."""
    if ask.key == NEW_ROWS:
        return replace(ask, rows_at=labelled, not_before_s=-1e18)
    return replace(ask, asked_s=max(clock_s, ask.asked_s or clock_s))


def after_training(ask: RetrainAsk, fact: TrainingFact, clock_s: float, width_s: float) -> RetrainAsk:
    """The trainer reported; nothing changes when it is not about this reason. `width_s`: of a window."""
    match fact:
        case RetrainAccepted() | RetrainCoalesced() if fact.request_id == ask.request_id:
            return replace(ask, run=fact.run)
        case RetrainRefused() if fact.request_id == ask.request_id and ask.key == SCHEDULE:
            return replace(ask, request_id=None)
        case RetrainRefused() if fact.request_id == ask.request_id:
            later_s = fact.again_at_s if fact.again_at_s is not None else clock_s + AGAIN_WINDOWS * width_s
            return replace(ask, request_id=None, not_before_s=later_s)
        case TrainingFinished() if ask.run is not None and fact.run == ask.run:
            return _after_run(ask, fact, clock_s, width_s)
        case _:
            return ask


def _after_run(ask: RetrainAsk, finished: TrainingFinished, clock_s: float, width_s: float) -> RetrainAsk:
    # NB: a run has the rows that there were when it was asked for; those that came since count towards the next one, however
    # late its end is reported.
    over = replace(ask, request_id=None, run=None, windows=0, rows_at=ask.asked_at)
    over = replace(over, rows=finished.rows_after_change or over.rows, wanted=finished.rows_wanted or over.wanted)
    if ask.key in DECLARED:
        return over
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
            is_early = over.rows > 0 and not has_enough(over)
            return _after_rejection(replace(over, unhelpful=ask.unhelpful + (not is_early)), clock_s, width_s)


def _after_rejection(over: RetrainAsk, clock_s: float, width_s: float) -> RetrainAsk:
    """The same rows would be rejected again. Where no change is known that more rows could follow, time must bring others."""
    if over.rows:
        return replace(over, needs_labelled=_grown(over))
    return replace(over, not_before_s=clock_s + AGAIN_WINDOWS * width_s)


def after_window(ask: RetrainAsk, *, is_judged: bool, has_gained: bool = False) -> RetrainAsk:
    """A window has closed in which the figure was not back.

    `is_judged`: the version of the last run served all of it. `has_gained`: it is shown to do better than the one before it, so
    the retrain helped although the figure is not back.
    """
    if not ask.tried:
        return ask
    windows = ask.windows + 1
    is_over = windows >= MOST_WINDOWS or (is_judged and windows >= JUDGED_WINDOWS)
    unhelpful = ask.unhelpful + (not (is_judged and has_gained))
    return replace(ask, tried=False, unhelpful=unhelpful) if is_over else replace(ask, windows=windows)


def follow_up(finished: TrainingFinished, labelled: int) -> RetrainAsk | None:
    """What follows up a version that came after a change; None where it knows of none, or had rows enough.

    `labelled`: how many rows had a label when its run was asked for.
    """
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
    """By which factor the rows beyond the change must have grown to be worth another run."""
    return OUTWEIGHS if finished.trained_rows > RESTS_ON * finished.rows_after_change else GROWTH


def _grown(ask: RetrainAsk, growth: float = GROWTH) -> int:
    """How many labelled rows there are in all when those beyond the change have grown by that factor."""
    return ask.rows_at + max(round((growth - 1) * ask.rows), 1)
