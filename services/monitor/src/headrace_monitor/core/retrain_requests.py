"""Retrain requests: when the trainer is asked for a new version, and when it is asked again.

A deployment has several reasons to ask: each open finding, its first version, the rows that come after a change, a schedule in
event time, and new labelled rows. Each is one `RetrainAsk`, whose states `retrain_reasons` has. Where they meet, one run is
under way per deployment:

| this is due          | while nothing is under way | while a request of a finding is | while any other request or run is           |
|----------------------|----------------------------|---------------------------------|---------------------------------------------|
| a finding            | asks, before all others    | joins it, and shares its end    | waits for its end: it may know of no change |
| the first version    | asks                       | cannot be                       | waits                                       |
| a schedule, new rows | ask, in this order         | wait, and count from its version | wait, and count from its version           |
| a follow-up          | asks, after all others     | waits                           | waits                                       |

All of it is decided when a window closes or the trainer reports, by event time and counts of labelled rows alone: a year that
is replayed decides like a year lived. A schedule asks with its own instant as the clock of the request, however late it is
looked at, so that the same rows are used and the same request is never made twice. As soon as there is a version nobody asks
for the first one any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingOpened
from headrace.events.training import RetrainAccepted, RetrainAsk, RetrainRequested, TrainingFinished
from headrace.log.envelope import derived_id, format_instant
from headrace.stats.figures import windows_to_first
from headrace.step import Step
from headrace_monitor.core.facts import GaveUp
from headrace_monitor.core.retrain_reasons import (
    DECLARED,
    FIRST,
    FOLLOW_UP,
    NEW_ROWS,
    NO_FINDINGS,
    RUN,
    SCHEDULE,
    TrainingFact,
    after_training,
    after_window,
    counted_from,
    due_s,
    follow_up,
    has_enough,
    has_given_up,
    may_ask,
)

_DAY_S = 86_400.0
# Who asks first, where several reasons are due: findings, then these.
_ORDER = (FIRST, SCHEDULE, NEW_ROWS, FOLLOW_UP)
# What a deployment without retraining gives up after.
_NEVER = 1_000_000

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
    """Everything that one deployment asks of the trainer. `by_key`: see `RetrainAsk.key`."""

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
    if found.severity == "info":
        return requests
    return _with(requests, RetrainAsk(key, found.finding, found.changed_at_s))


def all_asking(requests: RetrainRequests, found: Mapping[str, FindingOpened]) -> RetrainRequests:
    """Findings that opened before requests were kept, or before retraining was declared, ask from now on."""
    for key, one in found.items():
        if key not in requests.by_key:
            requests = begin(requests, key, one)
    return requests


def end(requests: RetrainRequests, key: str) -> RetrainRequests:
    """The reason with that key asks no more; nothing changes when there is none. A run of it goes on as nobody's."""
    ended = requests.by_key.get(key)
    if ended is None:
        return requests
    left = {found: ask for found, ask in requests.by_key.items() if found != key}
    if ended.run is not None and not any(ask.run == ended.run for ask in left.values()):
        left[RUN] = replace(ended, key=RUN, finding=None)
    return RetrainRequests(requests.deployment, left)


def on_training(requests: RetrainRequests, fact: TrainingFact, standing: Standing) -> RetrainStep:
    """The trainer reported about the deployment. The facts are what is asked for now, and which findings give up."""
    match fact:
        case RetrainAccepted() if all(ask.request_id != fact.request_id for ask in requests.by_key.values()):
            requests = _with(requests, _of_others(fact, standing))
        case TrainingFinished(outcome="registered"):
            requests = _followed_up(_counted_anew(requests, fact, standing), fact, standing)
        case _:
            pass
    width_s = requests.deployment.evaluation_window_s
    after = {key: after_training(ask, fact, standing.clock_s, width_s) for key, ask in requests.by_key.items()}
    is_over = RUN in after and after[RUN].request_id is None
    return _moved(requests, {key: ask for key, ask in after.items() if not (key == RUN and is_over)}, standing)


def on_window(
    requests: RetrainRequests, served: int | None, standing: Standing, *, has_gained: bool = False
) -> RetrainStep:
    """A window has closed in which the figures of the open findings were not back.

    `served`: the version that was champion throughout the window; None when there was no such version. `has_gained`: it
    is shown to do better than the one before it. The facts are those of `on_training`.
    """
    after = {
        key: after_window(
            ask, is_judged=served is not None and served == standing.champion != ask.champion, has_gained=has_gained
        )
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
    kept = {key: ask for key, ask in after.items() if not (key == FOLLOW_UP and has_enough(ask))}
    asked = _ask(RetrainRequests(requests.deployment, kept), standing)
    return Step(asked.state, (*gave_up, *asked.facts))


def _ask(requests: RetrainRequests, standing: Standing) -> RetrainStep:
    """Ask for what is due, once: see the table of the module."""
    if requests.deployment.training is None:
        return Step(requests)
    if FIRST not in requests.by_key and _may_have_first(requests.deployment, standing):
        requests = _with(requests, RetrainAsk(FIRST))
    requests = _with_declared(requests, standing)
    due = sorted((ask for ask in requests.by_key.values() if _is_due(requests, ask, standing)), key=_place)
    under_way = [ask for ask in requests.by_key.values() if ask.request_id is not None]
    made: tuple[RetrainRequested, ...] = ()
    if due and not under_way:
        joining = sum(ask.key not in NO_FINDINGS for ask in due[1:]) if due[0].key not in NO_FINDINGS else 0
        made = (_request(requests.deployment, due[0], standing, joining),)
        under_way = [_asked(due[0], made[0], standing)]
        requests = _with(requests, *under_way)
        due = due[1:]
    asked = next((ask for ask in under_way if ask.key not in NO_FINDINGS), None)
    if asked is not None:
        requests = _with(requests, *(_joined(ask, asked) for ask in due if ask.key not in NO_FINDINGS))
    return Step(requests, made)


def _place(ask: RetrainAsk) -> int:
    return _ORDER.index(ask.key) + 1 if ask.key in _ORDER else 0


def _is_due(requests: RetrainRequests, ask: RetrainAsk, standing: Standing) -> bool:
    policy = requests.deployment.retraining
    is_ready = may_ask(ask, standing.clock_s, standing.labelled, requests.gives_up_after)
    if ask.key == SCHEDULE:
        return is_ready and policy is not None and standing.clock_s >= due_s(ask, policy)
    if ask.key == NEW_ROWS:
        wanted = None if policy is None else policy.after_rows
        return is_ready and wanted is not None and standing.labelled - ask.rows_at >= wanted
    return is_ready


def _with_declared(requests: RetrainRequests, standing: Standing) -> RetrainRequests:
    """With a schedule and new rows as far as they are declared; they begin to count with the first window of a champion."""
    policy = requests.deployment.retraining
    is_declared = {SCHEDULE: False, NEW_ROWS: False}
    if policy is not None:
        is_declared = {SCHEDULE: bool(policy.every_s or policy.cron), NEW_ROWS: policy.after_rows is not None}
    for key in DECLARED:
        if key in requests.by_key and not is_declared[key]:
            requests = end(requests, key)
        elif key not in requests.by_key and is_declared[key] and standing.champion is not None and standing.windows:
            requests = _with(requests, counted_from(RetrainAsk(key), standing.clock_s, standing.labelled))
    return requests


def _asked(ask: RetrainAsk, request: RetrainRequested, standing: Standing) -> RetrainAsk:
    """A request is under way."""
    under_way = replace(ask, asked=ask.asked + 1, request_id=request_id_of(request), run=None)
    return replace(under_way, champion=standing.champion, asked_at=standing.labelled, asked_s=request.clock_s)


def _joined(ask: RetrainAsk, asked: RetrainAsk) -> RetrainAsk:
    """A finding shares the request of another one."""
    joined = replace(ask, asked=ask.asked + 1, request_id=asked.request_id, run=asked.run, champion=asked.champion)
    return replace(joined, asked_at=asked.asked_at, asked_s=asked.asked_s)


def _of_others(accepted: RetrainAccepted, standing: Standing) -> RetrainAsk:
    """A run that was asked for by hand, or by a finding that is resolved since."""
    found = RetrainAsk(RUN, request_id=accepted.request_id, run=accepted.run, champion=standing.champion)
    return replace(found, asked_at=standing.labelled, asked_s=accepted.clock_s)


def _with(requests: RetrainRequests, *asks: RetrainAsk) -> RetrainRequests:
    return RetrainRequests(requests.deployment, {**requests.by_key, **{ask.key: ask for ask in asks}})


def _may_have_first(deployment: DeploymentDefinition, standing: Standing) -> bool:
    training = deployment.training
    if training is None or standing.champion is not None:
        return False
    needed = windows_to_first(training.first_after_s, deployment.evaluation_window_s)
    rows = training.first_after_rows
    return standing.windows >= needed or (rows is not None and standing.labelled >= rows)


def _request(
    deployment: DeploymentDefinition, ask: RetrainAsk, standing: Standing, joining: int = 0
) -> RetrainRequested:
    """The request of a reason. `joining`: how many further findings share it."""
    cause, reason, clock_s = ask.key, "", standing.clock_s
    policy = deployment.retraining
    if ask.key == FIRST:
        reason = f"no version yet, and {standing.windows} windows with {standing.labelled} labels have closed"
    elif ask.key == FOLLOW_UP:
        rows, since = ask.rows + standing.labelled - ask.rows_at, format_instant(ask.changed_at_s or 0.0)
        reason = f"{rows:,} labelled rows lie beyond the change of {since}, the last run had {ask.rows:,}"
    elif ask.key == SCHEDULE and policy is not None:
        clock_s, since = due_s(ask, policy), format_instant(ask.asked_s or 0.0)
        reason = f"cron {policy.cron!r}" if policy.cron else f"{(policy.every_s or 0.0) / _DAY_S:g} d since {since}"
    elif ask.key == NEW_ROWS:
        reason = f"{standing.labelled - ask.rows_at:,} labelled rows have come since the newest version was asked for"
    else:
        found = standing.open[ask.key]
        further = f", and {joining:,} further findings" if joining else ""
        cause, reason = found.kind, f"{found.summary}{further}"
    return RetrainRequested(
        deployment.name, cause, reason, "monitor", ask.finding, clock_s, changed_at_s=ask.changed_at_s
    )


def _counted_anew(requests: RetrainRequests, finished: TrainingFinished, standing: Standing) -> RetrainRequests:
    """A schedule and new rows count from the newest version on, whoever asked for it."""
    run = next((ask for ask in requests.by_key.values() if ask.run == finished.run), None)
    clock_s, labelled = standing.clock_s, standing.labelled
    if run is not None:
        clock_s, labelled = run.asked_s if run.asked_s is not None else clock_s, run.asked_at
    declared = [requests.by_key[key] for key in DECLARED if key in requests.by_key]
    return _with(requests, *(counted_from(ask, clock_s, labelled) for ask in declared))


def _followed_up(requests: RetrainRequests, finished: TrainingFinished, standing: Standing) -> RetrainRequests:
    """A new version replaces what was followed up before. One that had rows enough, or knows of no change, is not followed up."""
    own = requests.by_key.get(FOLLOW_UP)
    if own is not None and own.request_id is not None:
        return requests
    asks = requests.by_key.values()
    labelled = next((ask.asked_at for ask in asks if ask.run == finished.run), standing.labelled)
    found = follow_up(finished, labelled)
    return end(requests, FOLLOW_UP) if found is None else _with(requests, found)
