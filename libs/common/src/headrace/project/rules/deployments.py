"""Rules of deployments: inputs, bound views, label, fallback, training, monitoring and breaker."""

import math
from collections.abc import Iterator

from headrace import cron
from headrace.events import definition as d
from headrace.events.charts import ChartsDefinition
from headrace.events.policies import DriftDefinition, RetrainingDefinition
from headrace.project.rules import bounds
from headrace.project.rules.derived import derived_rules
from headrace.project.rules.rollouts import rollout_rules
from headrace.project.rules.sentences import Sentence, at

INPUT_KINDS = ("number", "category", "key")
LABEL_KINDS = ("binary", "number", "classes")
GATES = ("beats_prior", "not_worse_than_champion")
DETECTORS = ("page_hinkley", "loss_change", "adwin")
# The arm is the smaller part: each of its rows is paired with one of the rest.
MOST_AUDITED = 0.5
STEPS = ("previous", "baseline", "prior")


def deployment_rules(project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    """The rules of one deployment that are broken."""
    what = bounds.named("deployment", found.name)
    if found.model != found.name:
        yield from (Sentence(f"{what}: {wrong}", ("model",)) for wrong in bounds.name("model", found.model))
    yield from at(("unit",), bounds.text(what, "unit", found.unit, 200, 1))
    yield from _inputs(what, found)
    yield from _bindings(what, project, found)
    yield from derived_rules(what, project, found)
    yield from at(
        ("feature_delay",), bounds.seconds(what, "feature_delay", found.feature_delay_s, 0, 31 * bounds.DAY_S)
    )
    yield from at(
        ("evaluation_window",),
        bounds.seconds(what, "evaluation_window", found.evaluation_window_s, 1, 366 * bounds.DAY_S),
    )
    if not 0 < found.coverage <= 1:
        shown = bounds.figure(found.coverage)
        yield Sentence(f"{what}: coverage must lie in 0..1, got {shown} (percent?)", ("coverage",))
    yield from at(("answer",), bounds.one_of(what, "answer", found.answer, ("committed", "fast")))
    yield from at(("time_limit",), bounds.seconds(what, "time_limit", found.time_limit_s, 0.001, 3600))
    yield from at(("label",), _label(what, found.label))
    yield from _fallback(what, found)
    yield from _training(what, found)
    yield from _monitoring(what, found)
    yield from at(("audit_share",), _audit(what, found))
    yield from at(("efficacy",), bounds.seconds(what, "efficacy", found.efficacy_s, bounds.DAY_S, 366 * bounds.DAY_S))
    if found.step_down_after is not None:
        yield from at(("step_down_after",), bounds.count(what, "step_down_after", found.step_down_after, 1, 1000))
    for name, listed, most in (("metrics", found.metrics, 50), ("slices", found.slices, 10)):
        yield from at((name,), bounds.count(what, f"the number of {name}", len(listed), 0, most))
        for number, one in enumerate(listed):
            yield from at((name, number), bounds.text(what, f"one of the {name}", one, 500, 1))
    yield from _breaker(what, found)
    yield from at(("rollout",), rollout_rules(found.name, found.rollout))
    for name, text in (("owner", found.owner), ("intended_use", found.intended_use)):
        yield from at((name,), bounds.text(what, name, text))


def _inputs(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    yield from at(("inputs",), bounds.count(what, "the number of inputs", len(found.inputs), 0, bounds.MOST_INPUTS))
    seen: set[str] = set()
    for number, field in enumerate(found.inputs):
        here = ("inputs", number)
        yield from at((*here, "name"), bounds.text(what, "an input's name", field.name, 200, 1))
        if field.name in seen:
            yield Sentence(f"{what}: {field.name[:80]!r} is declared twice; give each its own name", (*here, "name"))
        seen.add(field.name)
        yield from at(here, bounds.one_of(what, f"the kind of {field.name[:80]}", field.kind, INPUT_KINDS))
        for name, limit in (("low", field.low), ("high", field.high)):
            yield from at((*here, name), bounds.seen(what, f"{name} of {field.name[:80]}", limit))
        if field.low is not None and field.high is not None and field.low > field.high:
            problem = f"got low {field.low:g} above high {field.high:g}"
            yield Sentence(f"{what}: {field.name[:80]} must lie in low..high, {problem}", (*here, "low"))


def _bindings(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    views = {view.name: view for view in project.views}
    inputs = {field.name for field in found.inputs}
    seen: set[str] = set()
    for number, binding in enumerate(found.features):
        view, here = views.get(binding.view), ("features", number)
        if view is None:
            yield f"{what}: view {binding.view[:80]!r} is not in the project's views=[...]"
            continue
        if binding.view in seen:
            yield Sentence(f"{what}: view {binding.view!r} is bound twice; declare a second view of another name", here)
        seen.add(binding.view)
        if binding.key not in ("", view.key):
            yield Sentence(
                f"{what}: view {binding.view!r} is bound as {binding.key[:80]!r}, and it is {view.key!r}", here
            )
        entity = view.entity
        if len(entity) != len(binding.fields) or len(binding.kinds) not in (0, len(entity)):
            problem = f"needs {len(entity)} fields {entity}, got {binding.fields}"
            yield Sentence(f"{what}: {binding.view}.by(...) {problem}", here)
        for column in inputs & {f"{view.name}.{feature.name}" for feature in view.features}:
            problem = f"input {column!r} has the name of a feature of view {view.name}; give it its own name"
            yield Sentence(
                f"{what}: {problem}", ("inputs", [field.name for field in found.inputs].index(column), "name")
            )
        for place, field in enumerate(binding.fields):
            if field not in inputs:
                problem = f"by({field[:80]!r}) names no input; add Key({field[:80]!r})"
                yield Sentence(f"{what}: {binding.view}.{problem}", (*here, "fields", place))


def _label(what: str, label: d.LabelDefinition | None) -> Iterator[str]:
    if label is None:
        return
    yield from at(("name",), bounds.text(what, "the label's name", label.name, 200, 1))
    yield from bounds.one_of(what, "the label's kind", label.kind, LABEL_KINDS)
    yield from at(("absent",), bounds.one_of(what, "absent", label.absent, ("unknown", "negative")))
    yield from at(("horizon",), bounds.seconds(what, "the label's horizon", label.horizon_s, 1))
    yield from at(("classes",), bounds.count(what, "the number of classes", len(label.classes), 0, 10_000))
    for name in label.classes:
        yield from at(("classes",), bounds.text(what, "a class's name", name, 200, 1))
    if len(set(label.classes)) < len(label.classes):
        yield Sentence(f"{what}: a class of the label {label.name[:80]!r} is named twice", ("classes",))
    for name, limit in (("low", label.low), ("high", label.high)):
        yield from at((name,), bounds.finite(what, f"{name} of the label", limit))
    if label.low is not None and label.high is not None and not label.low < label.high:
        problem = f"got low {label.low} and high {label.high}"
        yield Sentence(f"{what}: the label must lie in low..high, {problem}", ("low",), ("high",))


def _fallback(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    kinds = [step.kind for step in found.fallback]
    for number, step in enumerate(found.fallback):
        here = ("fallback", number)
        yield from at(here, bounds.one_of(what, "a step of the fallback", step.kind, STEPS))
        if step.kind == "prior":
            yield from at(here, _prior(what, found.label, step))
    if len(set(kinds)) < len(kinds):
        second = next(place for place, kind in enumerate(kinds) if kind in kinds[:place])
        problem = f"a step of the fallback is declared twice: {', '.join(kinds)}"
        yield Sentence(f"{what}: {problem}", ("fallback", second), ("fallback",))
    if "prior" in kinds and kinds[-1] != "prior":
        yield Sentence(
            f"{what}: prior is always the last step of the fallback", ("fallback", kinds.index("prior")), ("fallback",)
        )


def _prior(what: str, label: d.LabelDefinition | None, step: d.FallbackStepDefinition) -> Iterator[str]:
    kind = None if label is None else label.kind
    if step.probabilities or kind == "classes":
        yield from _prior_of_classes(what, label, step)
    elif step.value is None or not math.isfinite(step.value):
        yield f"{what}: prior needs a number, got {step.value}"
    elif kind == "binary" and not 0 <= step.value <= 1:
        yield f"{what}: prior is a probability and must lie in 0..1, got {step.value:g} (percent?)"
    elif label is not None and kind == "number" and not _lies_in(label, step.value):
        yield f"{what}: prior must lie in the label's range, low {label.low} to high {label.high}, got {step.value:g}"


def _lies_in(label: d.LabelDefinition, value: float) -> bool:
    """Whether a number can be a label. NB: an invalid range is reported by the label's own rule."""
    low = -math.inf if label.low is None else label.low
    high = math.inf if label.high is None else label.high
    return low <= value <= high or not low < high


def _prior_of_classes(what: str, label: d.LabelDefinition | None, step: d.FallbackStepDefinition) -> Iterator[str]:
    if label is not None and label.kind != "classes":
        yield f"{what}: prior needs one number for a label of kind {label.kind!r}, got {len(step.probabilities)} probabilities"
    elif not step.probabilities:
        yield f"{what}: prior of several classes needs a probability for each, such as prior({{'a': 0.2, 'b': 0.8}})"
    elif label is not None and label.classes and len(step.probabilities) != len(label.classes):
        yield f"{what}: prior needs {len(label.classes)} probabilities, one per class, got {len(step.probabilities)}"
    elif not all(0 <= one <= 1 for one in step.probabilities):
        yield f"{what}: prior's probabilities must lie in 0..1, got {', '.join(f'{one:g}' for one in step.probabilities[:10])}"
    elif abs(sum(step.probabilities) - 1) > 1e-6:
        yield f"{what}: prior's probabilities must add up to 1, got {sum(step.probabilities):g}"


def _training(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    training = found.training
    if training is not None:
        if found.label is None:
            yield Sentence(
                f"{what}: training needs a label, such as label=Binary('late', horizon='24h')", ("training",)
            )
        for name, rule in (
            ("build", bounds.text(what, "training's build", training.build, 500, 3)),
            ("history", bounds.seconds(what, "training's history", training.history_s, 1)),
            ("holdout", bounds.seconds(what, "training's holdout", training.holdout_s, 1)),
            ("embargo", bounds.seconds(what, "training's embargo", training.embargo_s, 0)),
            ("first_after", bounds.seconds(what, "training's first_after", training.first_after_s, 0)),
            ("min_rows", bounds.count(what, "training's min_rows", training.min_rows, 1, 10**9)),
            ("seed", bounds.count(what, "training's seed", training.seed, 0, 2**32 - 1)),
        ):
            yield from at(("training", name), rule)
        for name, rows in (
            ("first_after_rows", training.first_after_rows),
            ("min_rows_after_change", training.min_rows_after_change),
        ):
            if rows is not None:
                yield from at(("training", name), bounds.count(what, f"training's {name}", rows, 1, 10**9))
    for number, gate in enumerate(found.gates):
        here = ("gates", number)
        yield from at((*here, "kind"), bounds.one_of(what, "a gate", gate.kind, GATES))
        yield from at((*here, "margin"), bounds.finite(what, f"the margin of {gate.kind[:80]}", gate.margin))
        problem = f"unmeasured of {gate.kind[:80]}"
        yield from at((*here, "unmeasured"), bounds.one_of(what, problem, gate.unmeasured, ("blocks", "passes")))


def _monitoring(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    for number, test in enumerate(found.monitoring):
        yield from at(("monitoring", number), _detector(what, test, found.evaluation_window_s))
    if found.charts is not None:
        yield from at(("monitoring", "Charts"), _charts(what, found.charts))
    if found.retraining is not None:
        on, cooldown_s = found.retraining.on, found.retraining.cooldown_s
        yield from at(("retraining", "cooldown"), bounds.seconds(what, "retraining's cooldown", cooldown_s, 0))
        unhelpful = found.retraining.unhelpful
        yield from at(("retraining", "unhelpful"), bounds.count(what, "retraining's unhelpful", unhelpful, 1, 1000))
        yield from at(("retraining", "on"), bounds.count(what, "the number of reasons to retrain", len(on), 0, 100))
        for number, kind in enumerate(on):
            yield from at(("retraining", "on", number), bounds.text(what, "a reason to retrain", kind, 100, 1))
        yield from at(("retraining",), _schedule(what, found.retraining))


def _audit(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    share, label = found.audit_share, found.label
    if not 0 <= share <= MOST_AUDITED:
        yield f"{what}: audit_share must lie in 0..{MOST_AUDITED:g}, got {bounds.figure(share)} (percent?)"
    elif share and label is None:
        yield f"{what}: audit_share compares labelled rows, and no label is declared; give it a label, or leave it out"
    elif share and label is not None and label.kind == "number" and (label.low is None or label.high is None):
        yield f"{what}: audit_share compares errors as shares of the label's range; give {label.name[:80]} a low and a high"


def _schedule(what: str, policy: RetrainingDefinition) -> Iterator[Sentence]:
    yield from at(("every",), bounds.seconds(what, "retraining's every", policy.every_s, 60))
    if policy.cron and (wrong := cron.why_not(policy.cron)) is not None:
        yield Sentence(f"{what}: {wrong}", ("cron",))
    if policy.after_rows is not None:
        yield from at(("after_rows",), bounds.count(what, "retraining's after_rows", policy.after_rows, 1, 10**9))


def _detector(what: str, test: DriftDefinition, evaluation_window_s: float) -> Iterator[str]:
    yield from bounds.one_of(what, "a detector", test.detector, DETECTORS)
    yield from at(("figure",), bounds.text(what, "a detector's figure", test.figure, 100, 1))
    if test.evaluation_window_s != evaluation_window_s:
        yield from bounds.seconds(
            what, "a detector's evaluation window", test.evaluation_window_s, 1, 366 * bounds.DAY_S
        )
    if not (0 <= test.delta < math.inf and 0 < test.threshold < math.inf):
        names = ("rise", "limit") if test.detector == DETECTORS[1] else ("delta", "threshold")
        problem = (
            f"a detector's {names[0]} must be at least 0 and its {names[1]} above 0, got {test.delta}, {test.threshold}"
        )
        is_delta = 0 < test.threshold < math.inf
        yield Sentence(f"{what}: {problem}", ("delta" if is_delta else "threshold",))
    yield from at(("min_windows",), bounds.count(what, "a detector's min_windows", test.min_windows, 1, 10**6))


def _charts(what: str, charts: ChartsDefinition) -> Iterator[str]:
    if not 0 < charts.pages < 1e6:
        yield f"{what}: Charts(pages=...) must be a number above 0 per period, got {charts.pages:g}"
    yield from bounds.seconds(what, "the period of pages", charts.period_s, 1, 366 * bounds.DAY_S)
    yield from bounds.seconds(what, "the season of charts", charts.season_s, 1, 366 * bounds.DAY_S)
    yield from bounds.count(what, "the windows of charts", charts.windows, 1, 400)
    yield from bounds.count(what, "the number of segments", len(charts.segments), 0, 5)
    for name in charts.segments:
        yield from bounds.text(what, "a segment's column", name, 200, 1)


def _breaker(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    breaker = found.breaker
    yield from at(("degrade_when",), bounds.share(what, "degrade_when", found.degrade_when))
    if found.degrade_when is not None and not found.features:
        yield Sentence(f"{what}: degrade_when needs features=[...] that may be missing", ("degrade_when",))
    counts = (breaker.window_calls, breaker.min_calls, breaker.probes)
    if not (min(counts) >= 1 and breaker.min_calls <= breaker.window_calls and max(counts) <= 1_000_000):
        names = dict(zip(("window_calls", "min_calls", "probes"), counts, strict=True))
        places = [("breaker", name) for name, count in names.items() if not 1 <= count <= 1_000_000]
        yield Sentence(
            f"{what}: breaker counts must be at least 1, and min_calls at most window_calls; got {counts}",
            *places,
            ("breaker", "min_calls"),
            ("breaker", "window_calls"),
        )
    for name, rule in (
        ("failure_share", bounds.share(what, "breaker=Breaker(failure_share=...)", breaker.failure_share)),
        ("slow_share", bounds.share(what, "breaker=Breaker(slow_share=...)", breaker.slow_share)),
        ("slow", bounds.seconds(what, "breaker=Breaker(slow=...)", breaker.slow_s, 0, 3600)),
        ("window", bounds.seconds(what, "breaker=Breaker(window=...)", breaker.window_s, 0.001, bounds.DAY_S)),
        ("rest", bounds.seconds(what, "breaker=Breaker(rest=...)", breaker.open_s, 0, bounds.DAY_S)),
    ):
        yield from at(("breaker", name), rule)
