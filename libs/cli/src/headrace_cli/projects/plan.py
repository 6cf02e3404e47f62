"""The plan of a deployment: what it will do, and from when, as a block of lines in the order of a version's life.

A capability that is on has a line with what it does and when it begins; one that is off has the argument that turns it on. Nothing is
predicted that depends on traffic, except from the labels per day of the windows closed so far.
"""

from collections.abc import Iterator

from headrace.asking.prediction import name_of
from headrace.events import definition as d
from headrace.events.charts import ChartsDefinition
from headrace.events.policies import DriftDefinition, RetrainingDefinition
from headrace.project.applicable.late import A_RISE, ends_without_labels
from headrace.project.applicable.rollouts import cycles
from headrace.project.applicable.wording import KINDS, duration
from headrace.project.labels import why_no_rollout_verdict
from headrace.stats.figures import least_labelled, windows_to_alarm, windows_to_first

DAY_S = 86_400.0
# A holdout of fewer rows than this gives little evidence.
_FEW_ROWS = 100

Line = tuple[str, str]


def plan_of(found: d.DeploymentDefinition, labels_a_day: float | None = None) -> list[Line]:
    """The lines of the plan, each a keyword and its text. `labels_a_day`: of the newest closed windows, None if none has closed."""
    on = [("answers", _answers(found)), *_label(found), *_training(found, labels_a_day), *_monitoring(found)]
    if found.training is not None or found.rollout.policy != "blue_green":
        on.append(("releases", _releases(found)))
    off = list(_off(found))
    return [*on, ("off", "; ".join(off))] if off else on


def rate_warnings(found: d.DeploymentDefinition, labels_a_day: float | None) -> Iterator[str]:
    """Notes on settings that need more labels."""
    training = found.training
    if training is None or labels_a_day is None:
        return
    most = labels_a_day * training.history_s / DAY_S
    if most < training.min_rows:
        yield (
            f"min_rows {training.min_rows:,} is more than history {duration(training.history_s)} holds:"
            f" about {most:,.0f} rows at {labels_a_day:,.3g} labels a day"
        )
    held_rows = labels_a_day * training.holdout_s / DAY_S
    if held_rows < _FEW_ROWS:
        yield (
            f"holdout {duration(training.holdout_s)} holds about {held_rows:,.0f} rows at {labels_a_day:,.3g} labels a day:"
            " gates will have little evidence"
        )


def _answers(found: d.DeploymentDefinition) -> str:
    steps = [" ".join((step.kind, *_constant(found, step))) for step in found.fallback]
    prior = next((step for step in found.fallback if step.kind == "prior"), None)
    until = "the prior answers" if prior else "requests are refused"
    falls = f", then falls back to {', '.join(steps)}" if steps else ""
    return f"about {found.unit}; until the first version {until}{falls}"


def _constant(found: d.DeploymentDefinition, step: d.FallbackStepDefinition) -> Iterator[str]:
    """The answer of a prior: the number, or the most probable of several classes."""
    if step.value is not None:
        yield f"{step.value:g}"
    elif step.probabilities:
        highest, place = max((found, -place) for place, found in enumerate(step.probabilities))
        names = found.label.classes if found.label is not None else ()
        yield f"of {len(step.probabilities)} classes (most probable {name_of(-place, names)}, {highest:g})"


def _label(found: d.DeploymentDefinition) -> Iterator[Line]:
    label = found.label
    if label is None:
        return
    kind, horizon, least = KINDS[label.kind], duration(label.horizon_s), least_labelled(found.coverage)
    yield (
        "label",
        f"{label.name} ({kind}), up to {horizon} after the request; windows of {duration(found.evaluation_window_s)} close at"
        f" {found.coverage:.0%} of their labels, {horizon} after their end at the latest, and are judged by {least:.0%} or more",
    )


def _training(found: d.DeploymentDefinition, labels_a_day: float | None) -> Iterator[Line]:
    training, label = found.training, found.label
    if training is None or label is None:
        return
    windows = windows_to_first(training.first_after_s, found.evaluation_window_s)
    rows = training.first_after_rows
    by_rows = "" if rows is None else f" or {rows:,} labels"
    days = f" (about {training.min_rows / labels_a_day:.3g} days' worth)" if labels_a_day else ""
    yield (
        "trains",
        f"the first version is possible after {duration(windows * found.evaluation_window_s)} ({windows:,} closed window{'s' * (windows > 1)}){by_rows},"
        f" with {training.min_rows:,} labels to fit on{days} beside the holdout's; on the newest {duration(training.history_s)}",
    )
    gates = ", ".join(f"{gate.kind} (margin {gate.margin:g})" for gate in found.gates) or "none"
    yield "gates", f"{gates}; on the newest {duration(training.holdout_s)} of labelled rows"


def _monitoring(found: d.DeploymentDefinition) -> Iterator[Line]:
    parts = [f"per window of {duration(found.evaluation_window_s)} how requests were answered"]
    if found.features:
        parts.append("whether feature rows equal recomputed ones, and whether the sources of the views are as usual")
    if found.label is None:
        parts.append("no quality without a label")
    yield "watches", "; ".join(parts)
    for test in found.monitoring:
        yield "watches", _detector(test)
    if found.charts is not None:
        yield "watches", _charts(found.charts, found.evaluation_window_s)
    if found.retraining is not None:
        on = "; ".join(_retrains(found.retraining))
        pause = duration(found.retraining.cooldown_s)
        followed = "; a version after a change is followed by further ones as its labelled rows grow"
        yield "retrains", f"{on}; at most once per {pause} of event time{followed}"


def _retrains(policy: RetrainingDefinition) -> Iterator[str]:
    if policy.on:
        yield f"on {', '.join(policy.on)}"
    if policy.every_s:
        yield f"every {duration(policy.every_s)}"
    if policy.cron:
        yield f"at {policy.cron!r} in UTC"
    if policy.after_rows:
        yield f"after {policy.after_rows:,} new labelled rows"


def _detector(test: DriftDefinition) -> str:
    first = duration(test.min_windows * test.evaluation_window_s)
    if test.detector == "adwin":
        return f"{test.figure} per window by ADWIN: an alarm is possible {test.min_windows} windows ({first}) into a version"
    if test.detector == "loss_change":
        return (
            f"the loss per window: an alarm is possible {test.min_windows} windows ({first}) into a version, of a rise by"
            f" {test.delta:.0%} and more"
        )
    after = windows_to_alarm(A_RISE, test.delta, test.threshold, test.min_windows)
    rise = (
        "is not found"
        if after is None
        else f"is found after {after} windows, {duration(after * test.evaluation_window_s)}"
    )
    return (
        f"{test.figure} per window: an alarm is possible {test.min_windows} windows ({first}) into a version;"
        f" a rise of {A_RISE:g} {rise} (threshold {test.threshold:g} is a sum over windows)"
    )


def _charts(charts: ChartsDefinition, window_s: float) -> str:
    of = f", each also for the most frequent values of {', '.join(charts.segments)}" if charts.segments else ""
    first = duration(charts.windows * window_s)
    return (
        f"charts of base rate, ranking, calibration, slope and level{of}: at most {charts.pages:g} false pages per"
        f" {duration(charts.period_s)}; a version that brings no windows of its own is watched after {charts.windows} windows ({first})"
    )


def _releases(found: d.DeploymentDefinition) -> str:
    plan = found.rollout
    who = "another person than its author" if plan.approval_by_another else "a person"
    by_hand = f", after {who} has approved it" if plan.approval else ""
    judged = _judged(found)
    match plan.policy:
        case "canary":
            steps = ", ".join(f"{share:g}" for share in plan.shares)
            least = duration(plan.shadow_first_s + (len(plan.shares) - 1) * plan.step_s)
            ends = f"given up after {duration(plan.give_up_s)}"
            return f"canary: shares {steps}, {least} at the least{by_hand}; {judged}; {ends}"
        case "ab_test":
            ends = "by rule" if plan.winner == "rule" else f"by hand within {duration(plan.give_up_s)}"
            share = f"share {plan.shares[0]:g} for {duration(plan.duration_s)}"
            return f"A/B test: {share}, decided {ends}{by_hand}; {judged}"
        case "shadow":
            return f"shadow: scores the same requests for {duration(plan.duration_s)}{by_hand}; {judged}"
        case _:
            return f"blue-green: switches when warm everywhere{by_hand}; {judged}"


def _judged(found: d.DeploymentDefinition) -> str:
    """What judges a version under rollout."""
    plan, why = found.rollout, why_no_rollout_verdict(found.label)
    if plan.policy == "blue_green" and why is None and plan.shadow_previous:
        return f"guardrails and labels may roll it back for {duration(plan.rollback_window_s)}"
    if plan.policy == "blue_green":
        return ends_without_labels(plan)
    if why is not None:
        return f"labels will not judge this: {ends_without_labels(plan)}"
    is_promoted = plan.policy == "canary" or (plan.policy == "ab_test" and plan.winner == "rule")
    return f"{'promoted' if is_promoted else 'judged'} by guardrails and labels after at least {cycles(plan)}"


def _off(found: d.DeploymentDefinition) -> Iterator[str]:
    """The capabilities that are off and can be turned on next."""
    if not found.features:
        yield "features (features=[view.by(...)])"
    if not found.fallback:
        yield "fallback (fallback=[previous, prior(...)])"
    if found.label is None:
        yield "labels, for quality and training (label=Binary(...), Multiclass(...) or Regression(...))"
        return
    is_watched = bool(found.monitoring) or found.charts is not None
    if not is_watched:
        yield "drift (monitoring=[Charts()])"
    if found.training is None:
        yield "training (training=Training(build))"
    elif found.retraining is None:
        yield "retraining (retraining=Retraining())" + ("" if is_watched else ", which needs drift")
