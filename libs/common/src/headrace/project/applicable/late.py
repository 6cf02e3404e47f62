"""Definitions that work, but decide late or never. `apply` warns of them and does not refuse them."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.events.policies import DriftDefinition
from headrace.project.applicable.wording import duration
from headrace.project.labels import why_no_rollout_verdict
from headrace.project.rules.sentences import Sentence
from headrace.stats.figures import windows_to_alarm

# A rise of a figure that every user would want to see, and the number of windows within which it should be found.
A_RISE, SOON_WINDOWS = 0.1, 60
_HOUR_S = 3600.0


def late_warnings(what: str, found: d.DeploymentDefinition, project: d.ProjectDefinition) -> Iterator[Sentence]:
    """Warnings about one deployment."""
    yield from _features(what, found, project)
    yield from _windows(what, found)
    yield from _rollout(what, found, found.rollout)
    yield from _columns(what, found)
    yield from _first(what, found)
    if found.training is not None and not found.fallback:
        problem = "every request is refused until the first version is there: fallback=[prior(...)] would answer"
        yield Sentence(f"{what}: {problem}", ("fallback",), ("training",))


def _columns(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    if not found.features and all(field.kind == "key" for field in found.inputs):
        problem = "a model has no column here: give inputs=[Number('x')], Category('c'), or features=[...]"
        yield Sentence(f"{what}: {problem}", ("inputs",))


def _first(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    training, label = found.training, found.label
    if training is None or label is None:
        return
    taken_s = label.horizon_s + training.holdout_s + training.embargo_s
    if training.first_after_s <= taken_s:
        problem = (
            f"first_after {duration(training.first_after_s)} is not longer than horizon {duration(label.horizon_s)}"
            f" + holdout {duration(training.holdout_s)} + embargo {duration(training.embargo_s)} ="
            f" {duration(taken_s)}: the first holdout is cut to a third of the rows there are"
        )
        yield Sentence(f"{what}: {problem}", ("training", "first_after"), ("training", "holdout"), ("training",))


def _features(what: str, found: d.DeploymentDefinition, project: d.ProjectDefinition) -> Iterator[Sentence]:
    if not found.features:
        return
    if found.feature_delay_s == 0:
        problem = "feature_delay 0 allows for no lag: a late event makes served rows differ from recomputed ones"
        yield Sentence(f"{what}: {problem}", ("feature_delay",))
    views = {view.name: view for view in project.views}
    for binding in found.features:
        for feature in views[binding.view].features:
            if found.feature_delay_s >= feature.window_s:
                window = f"the window of {binding.view}.{feature.name}, {duration(feature.window_s)}"
                problem = f"feature_delay {duration(found.feature_delay_s)} is not shorter than {window}: its values are older than the window"
                yield Sentence(f"{what}: {problem}", ("feature_delay",))
                return


def _windows(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    if found.label is not None and found.evaluation_window_s < _HOUR_S:
        problem = (
            f"evaluation_window {duration(found.evaluation_window_s)}: evaluation windows close at full hours only"
        )
        yield Sentence(f"{what}: {problem}", ("evaluation_window",))
    for number, test in enumerate(found.monitoring):
        if test.detector == "page_hinkley" and _alarm(test) is None:
            problem = (
                f"PageHinkley(delta={test.delta:g}, threshold={test.threshold:g}) does not find a rise of {A_RISE:g} within"
                f" {SOON_WINDOWS} windows: its threshold is for a sum over windows of what exceeds the mean by more than delta"
            )
            yield Sentence(f"{what}: {problem}", ("monitoring", number))


def _alarm(test: DriftDefinition) -> int | None:
    return windows_to_alarm(A_RISE, test.delta, test.threshold, test.min_windows, SOON_WINDOWS)


def _rollout(what: str, found: d.DeploymentDefinition, plan: d.RolloutDefinition) -> Iterator[Sentence]:
    if plan.policy == "blue_green":
        yield from _after_the_switch(what, found, plan)
        return
    why = why_no_rollout_verdict(found.label)
    if why is not None:
        problem = f"labels will not judge this rollout ({why}): {ends_without_labels(plan)}"
        yield Sentence(f"{what}: {problem}", ("rollout",))
    elif plan.policy in ("ab_test", "shadow") and plan.duration_s < _first_label_s(found, plan):
        problem = (
            f"the rollout's duration {duration(plan.duration_s)} ends before its first labels are read, after"
            f" {duration(_first_label_s(found, plan))} (label_delay, or the label's horizon, + block)"
        )
        yield Sentence(f"{what}: {problem}", ("rollout", "duration"), ("rollout",))


def ends_without_labels(plan: d.RolloutDefinition) -> str:
    """What ends a rollout that no label can judge, as text."""
    match plan.policy:
        case "canary" if plan.without_labels == "promote":
            return "it is promoted by its guardrails alone"
        case "canary" if plan.approval:
            return "it is promoted by its guardrails, and approved before it begins"
        case "canary":
            return "it is promoted by its guardrails and a person's approval (`headrace model approve`)"
        case "ab_test":
            return "a person ends it (`headrace rollout promote` or `headrace rollout abort`)"
        case "shadow":
            return f"it ends after its duration {duration(plan.duration_s)}"
        case _:
            return f"its guardrails may roll it back for {duration(plan.rollback_window_s)}"


def _after_the_switch(what: str, found: d.DeploymentDefinition, plan: d.RolloutDefinition) -> Iterator[Sentence]:
    if why_no_rollout_verdict(found.label) is not None:
        return
    window, first_s = f"the rollback window {duration(plan.rollback_window_s)}", _first_label_s(found, plan)
    if plan.rollback_window_s < first_s:
        problem = (
            f"{window} is over before the first labels are read, after {duration(first_s)} (label_delay, or the label's"
            " horizon, + block): no label can roll the version back"
        )
        yield Sentence(f"{what}: {problem}", ("rollout", "rollback_window"), ("rollout",))
    elif not plan.shadow_previous:
        problem = f"labels will not judge this rollout (shadow_previous=False: nothing to compare with): {ends_without_labels(plan)}"
        yield Sentence(f"{what}: {problem}", ("rollout", "shadow_previous"), ("rollout",))


def _first_label_s(found: d.DeploymentDefinition, plan: d.RolloutDefinition) -> float:
    return plan.block_s + plan.delay_s(found.label)
