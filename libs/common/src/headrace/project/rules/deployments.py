"""Deployments: inputs, bound views, label, fallback, training, monitoring and breaker."""

import math
from collections.abc import Iterator

from headrace.project import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.derived import derived_rules
from headrace.project.rules.rollouts import rollout_rules

INPUT_KINDS = ("number", "category", "key")
LABEL_KINDS = ("binary", "number", "classes")
GATES = ("beats_prior", "not_worse_than_champion")
STEPS = ("previous", "baseline", "prior")


def deployment_rules(project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    """The rules of one deployment that are broken."""
    what = bounds.named("deployment", found.name)
    yield from bounds.name("model", found.model)
    yield from bounds.text(what, "unit", found.unit, 200, 1)
    yield from _inputs(what, found)
    yield from _bindings(what, project, found)
    yield from derived_rules(what, project, found)
    yield from bounds.seconds(what, "feature delay (settle)", found.settle_s, 0, 31 * bounds.DAY_S)
    yield from bounds.seconds(what, "evaluation window (cohort)", found.cohort_s, 1, 366 * bounds.DAY_S)
    if not 0 < found.coverage <= 1:
        yield f"{what}: coverage must lie in 0..1, got {bounds.figure(found.coverage)} (percent?)"
    yield from bounds.one_of(what, "answer", found.answer, ("committed", "fast"))
    yield from bounds.seconds(what, "time_limit", found.time_limit_s, 0.001, 3600)
    yield from _label(what, found.label)
    yield from _fallback(what, found)
    yield from _training(what, found)
    yield from _monitoring(what, found)
    yield from _breaker(what, found)
    yield from rollout_rules(found.name, found.rollout)
    for name, text in (("owner", found.owner), ("intended_use", found.intended_use)):
        yield from bounds.text(what, name, text)


def _inputs(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    yield from bounds.count(what, "the number of inputs", len(found.inputs), 0, bounds.MOST_INPUTS)
    seen: set[str] = set()
    for field in found.inputs:
        yield from bounds.text(what, "an input's name", field.name, 200, 1)
        if field.name in seen:
            yield f"{what}: {field.name[:80]!r} is declared twice; give each its own name"
        seen.add(field.name)
        yield from bounds.one_of(what, f"the kind of {field.name[:80]}", field.kind, INPUT_KINDS)
        for name, limit in (("low", field.low), ("high", field.high)):
            yield from bounds.finite(what, f"{name} of {field.name[:80]}", limit)
        if field.low is not None and field.high is not None and field.low > field.high:
            yield f"{what}: {field.name[:80]} must lie in low..high, got low {field.low:g} above high {field.high:g}"


def _bindings(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    views = {view.name: view for view in project.views}
    inputs = {field.name for field in found.inputs}
    seen: set[str] = set()
    for binding in found.features:
        view = views.get(binding.view)
        if view is None:
            yield f"{what}: view {binding.view[:80]!r} is not in the project's views=[...]"
            continue
        if binding.view in seen:
            yield f"{what}: view {binding.view!r} is bound twice; declare a second view of another name"
        seen.add(binding.view)
        if binding.key not in ("", view.key):
            yield f"{what}: view {binding.view!r} is bound as {binding.key[:80]!r}, and it is {view.key!r}"
        entity = view.entity
        if len(entity) != len(binding.fields) or len(binding.kinds) not in (0, len(entity)):
            yield f"{what}: {binding.view}.by(...) needs {len(entity)} fields {entity}, got {binding.fields}"
        for field in binding.fields:
            if field not in inputs:
                yield f"{what}: {binding.view}.by({field[:80]!r}) names no input; add Key({field[:80]!r})"


def _label(what: str, label: d.LabelDefinition | None) -> Iterator[str]:
    if label is None:
        return
    yield from bounds.text(what, "the label's name", label.name, 200, 1)
    yield from bounds.one_of(what, "the label's kind", label.kind, LABEL_KINDS)
    yield from bounds.one_of(what, "absent", label.absent, ("unknown", "negative"))
    yield from bounds.seconds(what, "the label's horizon", label.horizon_s, 1)
    yield from bounds.count(what, "the number of classes", len(label.classes), 0, 10_000)
    for name in label.classes:
        yield from bounds.text(what, "a class's name", name, 200, 1)
    if len(set(label.classes)) < len(label.classes):
        yield f"{what}: a class of the label {label.name[:80]!r} is named twice"
    for name, limit in (("low", label.low), ("high", label.high)):
        yield from bounds.finite(what, f"{name} of the label", limit)
    if label.low is not None and label.high is not None and not label.low < label.high:
        yield f"{what}: the label must lie in low..high, got low {label.low} and high {label.high}"


def _fallback(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    kinds = [step.kind for step in found.ladder]
    for step in found.ladder:
        yield from bounds.one_of(what, "a step of the fallback", step.kind, STEPS)
        if step.kind == "prior":
            yield from _prior(what, found.label, step)
    if len(set(kinds)) < len(kinds):
        yield f"{what}: a step of the fallback stands there twice: {', '.join(kinds)}"
    if "prior" in kinds and kinds[-1] != "prior":
        yield f"{what}: prior is always the last step of the fallback"


def _prior(what: str, label: d.LabelDefinition | None, step: d.RungDefinition) -> Iterator[str]:
    kind = None if label is None else label.kind
    if step.shares or kind == "classes":
        yield from _prior_of_classes(what, label, step)
    elif step.value is None or not math.isfinite(step.value):
        yield f"{what}: prior needs a number, got {step.value}"
    elif kind == "binary" and not 0 <= step.value <= 1:
        yield f"{what}: prior is a probability and must lie in 0..1, got {step.value:g} (percent?)"
    elif (
        label is not None
        and kind == "number"
        and not ((label.low is None or label.low <= step.value) and (label.high is None or step.value <= label.high))
    ):
        yield f"{what}: prior must lie in the label's range, low {label.low} to high {label.high}, got {step.value:g}"


def _prior_of_classes(what: str, label: d.LabelDefinition | None, step: d.RungDefinition) -> Iterator[str]:
    if label is not None and label.kind != "classes":
        yield f"{what}: prior needs one number for a label of kind {label.kind!r}, got {len(step.shares)} probabilities"
    elif not step.shares:
        yield f"{what}: prior of several classes needs a probability for each, such as prior({{'a': 0.2, 'b': 0.8}})"
    elif label is not None and label.classes and len(step.shares) != len(label.classes):
        yield f"{what}: prior needs {len(label.classes)} probabilities, one per class, got {len(step.shares)}"
    elif not all(0 <= share <= 1 for share in step.shares):
        yield f"{what}: prior's probabilities must lie in 0..1, got {', '.join(f'{share:g}' for share in step.shares[:10])}"
    elif abs(sum(step.shares) - 1) > 1e-6:
        yield f"{what}: prior's probabilities must add up to 1, got {sum(step.shares):g}"


def _training(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    training = found.training
    if training is not None:
        if found.label is None:
            yield f"{what}: training needs a label, such as label=Binary('late', horizon='24h')"
        yield from bounds.text(what, "training's build", training.build, 500, 3)
        yield from bounds.seconds(what, "training's history", training.history_s, 1)
        yield from bounds.seconds(what, "training's holdout", training.holdout_s, 1)
        yield from bounds.seconds(what, "training's embargo", training.embargo_s, 0)
        yield from bounds.seconds(what, "training's first_after", training.first_after_s, 0)
        yield from bounds.count(what, "training's min_rows", training.min_rows, 1, 10**9)
        yield from bounds.count(what, "training's seed", training.seed, 0, 2**32 - 1)
    for gate in found.gates:
        yield from bounds.one_of(what, "a gate", gate.kind, GATES)
        yield from bounds.finite(what, f"the margin of {gate.kind[:80]}", gate.margin)


def _monitoring(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    for test in found.monitoring:
        yield from bounds.text(what, "a detector", test.detector, 100, 1)
        yield from bounds.text(what, "a detector's figure", test.figure, 100, 1)
        yield from bounds.seconds(what, "a detector's evaluation window", test.cohort_s, 1, 366 * bounds.DAY_S)
        if not (0 <= test.delta < math.inf and 0 < test.threshold < math.inf):
            yield f"{what}: a detector's delta must be at least 0 and its threshold above 0, got {test.delta}, {test.threshold}"
        yield from bounds.count(what, "a detector's min_cohorts", test.min_cohorts, 1, 10**6)
    if found.retraining is not None:
        yield from bounds.seconds(what, "retraining's cooldown", found.retraining.cooldown_s, 0)
        yield from bounds.count(what, "the number of reasons to retrain", len(found.retraining.on), 0, 100)
        for kind in found.retraining.on:
            yield from bounds.text(what, "a reason to retrain", kind, 100, 1)


def _breaker(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    breaker = found.breaker
    yield from bounds.share(what, "breaker=Breaker(failure_share=...)", breaker.failure_share)
    yield from bounds.share(what, "breaker=Breaker(slow_share=...)", breaker.slow_share)
    yield from bounds.share(what, "degrade_when", found.degrade_when)
    if found.degrade_when is not None and not found.features:
        yield f"{what}: degrade_when needs features=[...] that may be missing"
    counts = (breaker.window_calls, breaker.min_calls, breaker.probes)
    if not (min(counts) >= 1 and breaker.min_calls <= breaker.window_calls and max(counts) <= 1_000_000):
        yield f"{what}: breaker counts must be at least 1, and min_calls at most window_calls; got {counts}"
    yield from bounds.seconds(what, "breaker=Breaker(slow=...)", breaker.slow_s, 0, 3600)
    yield from bounds.seconds(what, "breaker=Breaker(window=...)", breaker.window_s, 0.001, bounds.DAY_S)
    yield from bounds.seconds(what, "breaker=Breaker(rest=...)", breaker.open_s, 0, bounds.DAY_S)
