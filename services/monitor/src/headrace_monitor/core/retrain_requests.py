"""Retrain requests: when the trainer is asked for a new version, and when it is asked again.

A deployment has several reasons to ask: each open finding, its first version, and the rows that come after a change. Each
reason is one `RetrainAsk`, a machine of its own:

| state    | it is when                   | what ends it                                                                             |
|----------|------------------------------|------------------------------------------------------------------------------------------|
| ready    | no request is under way      | its instant and its number of labelled rows are there: it asks                            |
| asked    | a request has no end yet     | refused: ready, not before the instant that the refusal names, else in `AGAIN_WINDOWS`    |
|          |                              | waiting: ready when the rows that are missing are there                                   |
|          |                              | rejected: unhelpful, ready when the rows beyond the change have grown by half             |
|          |                              | failed: unhelpful, ready in `AGAIN_WINDOWS`                                               |
|          |                              | registered: tried                                                                         |
| tried    | a version came of it         | the figure is back: the finding is resolved, and all of this is forgotten                 |
|          |                              | not back in `JUDGED_WINDOWS` of its windows, or never champion: unhelpful, ready          |
| given up | so many were unhelpful       | the finding is resolved                                                                   |

A finding has at most one request under way. A reason that follows a change up asks when the rows beyond the change have grown
by half since the last run, until that run had ten times the rows that it waits for: the first version after a change has few
rows, and no finding would say so. A version that rests mostly on rows from before the change has many rows already, so half
as many new ones would show little: it is followed up when there are five times as many, which may outweigh the older ones.

Where the reasons meet: a request of a finding goes before one that follows up, and as soon as there is a version nobody asks
for the first one any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingOpened, RetrainAsk
from headrace.events.training import (
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.log.envelope import derived_id, format_instant
from headrace.stats.figures import windows_to_first
from headrace.step import Step
from headrace_monitor.core.facts import GaveUp

# Keys of the reasons that are no findings.
FIRST, FOLLOW_UP = "first", "follow_up"
AGAIN_WINDOWS = 7
JUDGED_WINDOWS = 2
# A rollout takes its time: a version that is not champion after so many windows has not helped.
MOST_WINDOWS = 60
GROWTH, ENOUGH = 1.5, 10
# A version rests on older rows when it was trained on more than RESTS_ON times the rows beyond the change; then those must
# grow by OUTWEIGHS.
RESTS_ON, OUTWEIGHS = 2, 5
# What a deployment without retraining gives up after.
_NEVER = 1_000_000

TrainingFact = RetrainAccepted | RetrainCoalesced | RetrainRefused | TrainingFinished
RetrainFact = RetrainRequested | GaveUp


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a deployment stands.

    `clock_s`: its clock; `windows`: how many have closed so far; `labelled`: how many rows had a label so far; `champion`: its
    version, None when it has none; `open`: its open findings, by key.
    """

    clock_s: float
    windows: int
    labelled: int
    champion: int | None
    open: Mapping[str, FindingOpened]


@dataclass(frozen=True, slots=True)
class RetrainRequests:
    """Everything that one deployment asks of the trainer. `by_key`: by the key of a finding, `first` or `follow_up`."""

    deployment: DeploymentDefinition
    by_key: Mapping[str, RetrainAsk] = field(default_factory=dict)

    @property
    def gives_up_after(self) -> int:
        """After so many unhelpful retrains in a row a finding asks no more."""
        retraining = self.deployment.retraining
        return _NEVER if retraining is None else retraining.unhelpful


RetrainStep = Step[RetrainRequests, RetrainFact]


def request_id_of(request: RetrainRequested) -> str:
    """The id under which a request is written: the same whenever the same request is made again."""
    return derived_id("retrain", request.deployment, request.cause, request.finding, request.clock_s)


# What happens to a deployment


def begin(requests: RetrainRequests, key: str, found: FindingOpened) -> RetrainRequests:
    """A finding has opened under `key`: it asks from now on, where the project wants that."""
    retraining = requests.deployment.retraining
    if retraining is None or found.kind not in retraining.on or requests.deployment.training is None:
        return requests
    return _with(requests, RetrainAsk(key, found.finding, found.changed_at_s))


def end(requests: RetrainRequests, key: str) -> RetrainRequests:
    """The reason with that key asks no more; nothing changes when there is none."""
    if key not in requests.by_key:
        return requests
    left = {found: ask for found, ask in requests.by_key.items() if found != key}
    return RetrainRequests(requests.deployment, left)


def on_training(requests: RetrainRequests, fact: TrainingFact, standing: Standing) -> RetrainStep:
    """The trainer reported about the deployment. The facts are what is asked for now, and which findings give up."""
    if isinstance(fact, TrainingFinished):
        requests = _followed_up(requests, fact, standing)
    width_s = requests.deployment.evaluation_window_s
    after = {key: _after_training(ask, fact, standing.clock_s, width_s) for key, ask in requests.by_key.items()}
    return _moved(requests, after, standing)


def on_window(requests: RetrainRequests, served: int | None, standing: Standing) -> RetrainStep:
    """A window has closed in which the figures of the open findings were not back.

    `served`: the version that was champion throughout the window; None when there was no such version. The facts are those of
    `on_training`.
    """
    after = {
        key: _after_window(ask, is_judged=served is not None and served == standing.champion != ask.champion)
        for key, ask in requests.by_key.items()
    }
    return _moved(requests, after, standing)


def _moved(requests: RetrainRequests, after: Mapping[str, RetrainAsk], standing: Standing) -> RetrainStep:
    """Take over what became of each reason; then ask for what is due."""
    gave_up: list[RetrainFact] = []
    most = requests.gives_up_after
    for key, ask in after.items():
        found = standing.open.get(key)
        if found is not None and has_given_up(ask, most) and not has_given_up(requests.by_key[key], most):
            summary = f"{ask.unhelpful} retrains in a row did not help: {found.summary}. No more are asked for"
            gave_up.append(GaveUp(found, summary))
    kept = {key: ask for key, ask in after.items() if not (key == FOLLOW_UP and _has_enough(ask))}
    asked = _ask(RetrainRequests(requests.deployment, kept), standing)
    return Step(asked.state, (*gave_up, *asked.facts))


def _ask(requests: RetrainRequests, standing: Standing) -> RetrainStep:
    if requests.deployment.training is None:
        return Step(requests)
    if FIRST not in requests.by_key and _may_have_first(requests.deployment, standing):
        requests = _with(requests, RetrainAsk(FIRST))
    made: list[RetrainFact] = []
    is_busy = any(ask.request_id is not None for ask in requests.by_key.values())
    for key, ask in sorted(requests.by_key.items(), key=lambda found: found[0] == FOLLOW_UP):
        is_due = may_ask(ask, standing.clock_s, standing.labelled, requests.gives_up_after)
        if is_due and not (key == FOLLOW_UP and is_busy):
            request = _request(requests.deployment, ask, standing)
            requests, is_busy = _with(requests, _asked(ask, request, standing)), True
            made.append(request)
    return Step(requests, tuple(made))


def _with(requests: RetrainRequests, ask: RetrainAsk) -> RetrainRequests:
    return RetrainRequests(requests.deployment, {**requests.by_key, ask.key: ask})


def _may_have_first(deployment: DeploymentDefinition, standing: Standing) -> bool:
    training = deployment.training
    if training is None or standing.champion is not None:
        return False
    needed = windows_to_first(training.first_after_s, deployment.evaluation_window_s)
    rows = training.first_after_rows
    return standing.windows >= needed or (rows is not None and standing.labelled >= rows)


def _request(deployment: DeploymentDefinition, ask: RetrainAsk, standing: Standing) -> RetrainRequested:
    if ask.key == FIRST:
        cause = FIRST
        reason = f"no version yet, and {standing.windows} windows with {standing.labelled} labels have closed"
    elif ask.key == FOLLOW_UP:
        cause, since = FOLLOW_UP, format_instant(ask.changed_at_s or 0.0)
        rows = ask.rows + standing.labelled - ask.rows_at
        reason = f"{rows:,} labelled rows lie beyond the change of {since}, the last run had {ask.rows:,}"
    else:
        cause, reason = "drift", standing.open[ask.key].summary
    return RetrainRequested(
        deployment.name, cause, reason, "monitor", ask.finding, standing.clock_s, changed_at_s=ask.changed_at_s
    )


def _followed_up(requests: RetrainRequests, finished: TrainingFinished, standing: Standing) -> RetrainRequests:
    """A new version replaces what was followed up before. One that had rows enough, or knows of no change, is not followed up."""
    own = requests.by_key.get(FOLLOW_UP)
    if finished.outcome != "registered" or (own is not None and own.request_id is not None):
        return requests
    asks = requests.by_key.values()
    labelled = next((ask.asked_at for ask in asks if ask.run == finished.run), standing.labelled)
    found = _follow_up(finished, labelled)
    return end(requests, FOLLOW_UP) if found is None else _with(requests, found)


# The machine of one reason


def may_ask(ask: RetrainAsk, clock_s: float, labelled: int, gives_up_after: int) -> bool:
    """Whether a reason asks now. `labelled`: how many rows had a label so far."""
    is_ready = ask.request_id is None and not ask.tried and not has_given_up(ask, gives_up_after)
    return is_ready and clock_s >= ask.not_before_s and labelled >= ask.needs_labelled


def has_given_up(ask: RetrainAsk, gives_up_after: int) -> bool:
    """Whether a reason asks no more because so many retrains in a row were unhelpful; only findings give up."""
    return ask.key not in (FIRST, FOLLOW_UP) and ask.unhelpful >= gives_up_after


def _asked(ask: RetrainAsk, request: RetrainRequested, standing: Standing) -> RetrainAsk:
    """A request is under way."""
    under_way = replace(ask, asked=ask.asked + 1, request_id=request_id_of(request), run=None)
    return replace(under_way, champion=standing.champion, asked_at=standing.labelled)


def _after_training(ask: RetrainAsk, fact: TrainingFact, clock_s: float, width_s: float) -> RetrainAsk:
    """The trainer reported; nothing changes when it is not about this reason. `width_s`: of a window."""
    match fact:
        case RetrainAccepted() | RetrainCoalesced() if fact.request_id == ask.request_id:
            return replace(ask, run=fact.run)
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
            return _after_rejection(replace(over, unhelpful=ask.unhelpful + 1), clock_s, width_s)


def _after_rejection(over: RetrainAsk, clock_s: float, width_s: float) -> RetrainAsk:
    """The same rows would be rejected again. Where no change is known that more rows could follow, time must bring others."""
    if over.rows:
        return replace(over, needs_labelled=_grown(over))
    return replace(over, not_before_s=clock_s + AGAIN_WINDOWS * width_s)


def _after_window(ask: RetrainAsk, *, is_judged: bool) -> RetrainAsk:
    """A window has closed in which the figure was not back. `is_judged`: the version of the last run served all of it."""
    if not ask.tried:
        return ask
    windows = ask.windows + 1
    is_over = windows >= MOST_WINDOWS or (is_judged and windows >= JUDGED_WINDOWS)
    return replace(ask, tried=False, unhelpful=ask.unhelpful + 1) if is_over else replace(ask, windows=windows)


def _follow_up(finished: TrainingFinished, labelled: int) -> RetrainAsk | None:
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
    return None if _has_enough(found) else replace(found, needs_labelled=_grown(found, _growth(finished)))


def _has_enough(ask: RetrainAsk) -> bool:
    """Whether the last run had so many rows beyond the change that more would show little."""
    return ask.rows >= ENOUGH * ask.wanted


def _growth(finished: TrainingFinished) -> float:
    """By which factor the rows beyond the change must have grown to be worth another run."""
    return OUTWEIGHS if finished.trained_rows > RESTS_ON * finished.rows_after_change else GROWTH


def _grown(ask: RetrainAsk, growth: float = GROWTH) -> int:
    """How many labelled rows there are in all when those beyond the change have grown by that factor."""
    return ask.rows_at + max(round((growth - 1) * ask.rows), 1)
