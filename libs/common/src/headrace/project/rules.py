"""What a definition may say: one list of rules, asked by `apply` before it publishes and by every reader before it believes.

Each broken rule is one sentence: what, the value got, what is expected. A reader that skips these would divide by a window
of no length, loop over a million partitions, or make a topic of somebody's typing error.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.project import definition as d

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_DAY_S = 86_400.0
_LONGEST_S = 3660 * _DAY_S
LONGEST_WINDOW_S = 731 * _DAY_S
# Below Kafka's and our own limits; a broker of one node has trouble long before.
MOST_PARTITIONS = 1000
MOST_PARTS = 500
MOST_INPUTS = 2000
MOST_FEATURES = 500
MOST_TEXT = 10_000
# What fits into one record, with what stands around it.
MOST_BYTES = 900_000
_DEEPEST, _MOST_NODES = 50, 5000

FIELD_KINDS = ("number", "integer", "text", "flag", "instant")
AGGREGATIONS = ("count", "sum", "mean", "share", "min", "max", "std", "last")
INPUT_KINDS = ("number", "category", "key")
LABEL_KINDS = ("binary", "number", "classes")
GATES = ("beats_prior", "not_worse_than_champion")
STEPS = ("previous", "baseline", "prior")
METRICS = ("errors", "invalid_scores", "latency", "degraded", "distribution")
POLICIES = ("blue_green", "canary", "ab_test", "shadow")
ARITIES = {
    **dict.fromkeys(("+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&", "|", "min", "max"), 2),
    **dict.fromkeys(("~", "is_missing", "floor", "abs", "sqrt", "log", "exp", "sin", "cos"), 1),
    "where": 3,
}
# Operators that take texts; all others compute with numbers.
_OF_TEXTS = ("==", "!=", "is_missing")


def check(project: d.ProjectDefinition) -> None:
    """Raise `Misconfigured` with the first rule that a definition breaks."""
    for sentence in broken(project):
        raise Misconfigured(sentence)


def broken(project: d.ProjectDefinition) -> Iterator[str]:
    """The rules that a definition breaks, a sentence each. NB: later ones may rely on earlier ones: stop at the first."""
    wrong = _wrong_type(project)
    if wrong:
        yield wrong
        return
    yield from _name("project", project.name)
    yield from _sizes(project)
    for kind, group in _groups(project):
        yield from _names(project, kind, group)
    for raw in project.raw:
        what = named("raw stream", raw.name)
        yield from _one_of(what, "format", raw.format, ("json", "msgpack"))
        yield from _count(what, "partitions", raw.partitions, 1, MOST_PARTITIONS)
    for reference in project.references:
        what = named("reference", reference.name)
        yield from _count(what, "partitions", reference.partitions, 1, MOST_PARTITIONS)
    for source in project.sources:
        yield from _source(source)
    yield from _partitions_alike(project)
    for view in project.views:
        yield from _view(project, view)
    for pipeline in project.pipelines:
        yield from _pipeline(project, pipeline)
    yield from _shared_outputs(project)
    for deployment in project.deployments:
        yield from _deployment(project, deployment)


def named(kind: str, name: str) -> str:
    """What a sentence begins with; an odd name is quoted.

    >>> named("view", "carrier"), named("source", "My Source/é")
    ('view carrier', "source 'My Source/é'")
    """
    if _NAME.fullmatch(name):
        return f"{kind} {name}"
    return f"{kind} {name[:80]!r}" + ("..." if len(name) > 80 else "")


def names_of(project: d.ProjectDefinition) -> Iterator[tuple[str, str]]:
    """What a project owns by declaring it first, as (kind, name): nobody else may declare the same."""
    for kind, group in _groups(project):
        if kind != "pipeline":
            yield from ((kind, found.name) for found in group)


def _groups(project: d.ProjectDefinition) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return (
        ("raw stream", project.raw),
        ("reference", project.references),
        ("source", project.sources),
        ("view", project.views),
        ("pipeline", project.pipelines),
        ("deployment", project.deployments),
    )


def _wrong_type(project: d.ProjectDefinition) -> str | None:
    """Structs are not validated when they are made: a definition is what can be read back of it."""
    try:
        written = msgspec.msgpack.encode(project)
        if len(written) > MOST_BYTES:
            return (
                f"project {project.name!r:.90}: its definition has {len(written):,} bytes, at most {MOST_BYTES:,} fit"
            )
        msgspec.msgpack.decode(written, type=d.ProjectDefinition)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"project {project.name!r:.90}: {_told_of(project, str(error))}"
    return None


def _told_of(project: d.ProjectDefinition, error: str) -> str:
    """`... at $.deployments[0].inputs[0].low` said with names."""
    found = re.search(r"`\$\.(\w+)\[(\d+)\]\.?([^`]*)`", error)
    if found is None:
        return error
    try:
        part = getattr(project, found[1])[int(found[2])].name
    except (AttributeError, IndexError, TypeError):
        return error
    kind = {"raw": "raw stream"}.get(found[1], found[1].removesuffix("s"))
    return f"{kind} {part!r:.90}: {found[3] or 'it'}: {error.partition(' - at ')[0]}"


def _sizes(project: d.ProjectDefinition) -> Iterator[str]:
    for kind, group in _groups(project):
        if len(group) > MOST_PARTS:
            yield f"{named('project', project.name)}: it has {len(group)} {kind}s, at most {MOST_PARTS} are allowed"


def _names(project: d.ProjectDefinition, kind: str, group: Iterable[Any]) -> Iterator[str]:
    seen: set[str] = set()
    for found in group:
        yield from _name(kind, found.name)
        if found.name in seen:
            yield f"{named('project', project.name)}: {found.name!r} is declared twice; give each its own name"
        seen.add(found.name)


def _name(kind: str, name: str) -> Iterator[str]:
    """Names become topics, keys and addresses."""
    if not _NAME.fullmatch(name):
        yield (
            f"{named(kind, name)}: a {kind}'s name is 1 to 100 letters (a-z), digits, `_`, `.` or `-`, and begins with"
            " a letter or a digit"
        )


def _text(what: str, name: str, value: str, most: int = MOST_TEXT, least: int = 0) -> Iterator[str]:
    if not least <= len(value) <= most:
        yield f"{what}: {name} must have {least} to {most:,} characters, got {len(value):,}"
    elif any(ord(character) < 32 for character in value) and most < MOST_TEXT:
        yield f"{what}: {name} must not hold control characters, got {value[:80]!r}"


def _one_of(what: str, name: str, value: Any, allowed: Iterable[str]) -> Iterator[str]:
    if value not in tuple(allowed):
        yield f"{what}: {name} must be {' or '.join(allowed)}, got {str(value)[:80]!r}"


def _count(what: str, name: str, value: int, least: int, most: int) -> Iterator[str]:
    if not least <= value <= most:
        yield f"{what}: {name} must lie in {least:,}..{most:,}, got {_figure(value)}"


def _seconds(what: str, name: str, value: float | None, least_s: float, most_s: float = _LONGEST_S) -> Iterator[str]:
    """NaN lies nowhere."""
    if value is not None and not least_s <= value <= most_s:
        bounds = f"at least {least_s:g} s and at most {most_s / _DAY_S:g} d"
        yield f"{what}: {name} must be {bounds}, got {_figure(value)} s"


def _share(what: str, name: str, value: float | None) -> Iterator[str]:
    if value is not None and not 0 <= value <= 1:
        yield f"{what}: {name} must lie in 0..1, got {_figure(value)} (percent?)"


def _finite(what: str, name: str, value: float | None) -> Iterator[str]:
    if value is not None and not math.isfinite(value):
        yield f"{what}: {name} must be a finite number, got {_figure(value)}"


def _figure(value: float) -> str:
    return str(value)[:40]


def _source(source: d.SourceDefinition) -> Iterator[str]:
    what = named("source", source.name)
    kinds = {field.name: field.kind for field in source.fields}
    yield from _count(what, "partitions", source.partitions, 1, MOST_PARTITIONS)
    yield from _count(what, "the number of fields", len(source.fields), 1, MOST_PARTS)
    if len(kinds) < len(source.fields):
        yield f"{what}: two of its fields have the same name; give each its own"
    for field in source.fields:
        if not field.name.isidentifier() or len(field.name) > 200 or field.name.startswith("__"):
            yield f"{what}: a field's name must be a Python name, got {field.name[:80]!r}"
        yield from _one_of(f"{what}: field {field.name[:80]}", "kind", field.kind, FIELD_KINDS)
    for role, name in (("event_time", source.event_time), ("available_at", source.available_at)):
        if name is not None and kinds.get(name) not in ("instant", "number"):
            yield f"{what}: {role}={name[:80]!r} must be a datetime or float field of its event"
    for role, name in (("dedupe", source.dedupe), ("key", source.key)):
        if name is not None and name not in kinds:
            yield f"{what}: {role}={name[:80]!r} is not a field of its event"
    if source.available_at is not None and source.available_after_s:
        yield f"{what}: give available_at or available_after, not both"
    yield from _seconds(what, "available_after", source.available_after_s, 0)
    yield from _seconds(what, "dedupe_within", source.dedupe_within_s, 1)


def _partitions_alike(project: d.ProjectDefinition) -> Iterator[str]:
    if len({source.partitions for source in project.sources}) > 1:
        yield (
            f"{named('project', project.name)}: all sources must have the same number of partitions"
            " (partition p of all is one shard)"
        )


def _view(project: d.ProjectDefinition, view: d.ViewDefinition) -> Iterator[str]:
    what = named("view", view.name)
    source = next((source for source in project.sources if source.name == view.source), None)
    if source is None:
        yield f"{what}: source {view.source[:80]!r} is not in the project's sources=[...]"
        return
    kinds = {field.name: field.kind for field in source.fields}
    if not _DIGEST.fullmatch(view.digest):
        yield f"{what}: its digest must be hexadecimal, got {view.digest[:80]!r}"
    yield from _count(what, "the number of entity fields", len(view.entity), 0, 20)
    for name in view.entity:
        if name not in kinds:
            yield f"{what}: entity {name[:80]!r} is not a field of source {source.name}"
    if not view.features:
        yield f"{what}: it has no features; give features={{'landed_3h': Count('3h')}}, say"
    yield from _count(what, "the number of features", len(view.features), 0, MOST_FEATURES)
    if len({feature.name for feature in view.features}) < len(view.features):
        yield f"{what}: two of its features have the same name; give each its own"
    for feature in view.features:
        yield from _feature(what, source, kinds, feature)


def _feature(
    what: str, source: d.SourceDefinition, kinds: dict[str, str], feature: d.FeatureDefinition
) -> Iterator[str]:
    yield from _text(what, "a feature's name", feature.name, 200, 1)
    name = feature.name[:80]
    yield from _one_of(what, f"the aggregation of {name}", feature.aggregation, AGGREGATIONS)
    is_count = feature.aggregation == "count"
    if not is_count and kinds.get(feature.column or "") not in ("number", "integer", "flag"):
        yield f"{what}: {name} needs a number or flag, and {str(feature.column)[:80]!r} of {source.name} is none"
    if is_count and feature.column is not None:
        yield f"{what}: {name} counts events, and takes no column"
    yield from _window(what, name, feature.window_s)
    yield from _finite(what, f"the default of {name}", feature.default)
    yield from _seconds(what, f"stale_after of {name}", feature.stale_after_s, 1)


def _window(what: str, name: str, window_s: int) -> Iterator[str]:
    if not 0 < window_s <= LONGEST_WINDOW_S:
        most = f"{LONGEST_WINDOW_S / _DAY_S:g} d"
        yield f"{what}: the window of {name} must be longer than nothing and at most {most}, got {_figure(window_s)} s"
    elif window_s % pane_width_s(window_s):
        width_s = pane_width_s(window_s)
        yield f"{what}: the window of {name} must be a multiple of {width_s} s, got {window_s} s"


def pane_width_s(window_s: int) -> int:
    """Pane width of a window: up to 3 h five minutes, up to 3 d one hour, longer one day.

    >>> pane_width_s(3 * 3600), pane_width_s(86_400)
    (300, 3600)
    """
    if window_s <= 3 * 3600:
        return 300
    return 3600 if window_s <= 3 * 86_400 else 86_400


def _pipeline(project: d.ProjectDefinition, pipeline: d.PipelineDefinition) -> Iterator[str]:
    what = named("pipeline", pipeline.name)
    yield from _text(what, "its function", pipeline.function, 500)
    yield from _listed(what, "raw stream", (pipeline.raw,), project.raw, "raw")
    yield from _listed(what, "reference", pipeline.enrich, project.references, "references")
    yield from _listed(what, "source", pipeline.sources, project.sources, "sources")
    if len({*pipeline.sources}) < len(pipeline.sources) or len({*pipeline.outcomes}) < len(pipeline.outcomes):
        yield f"{what}: it names an output twice"
    deployments = {found.name for found in project.deployments}
    for name in pipeline.outcomes:
        if name not in deployments:
            yield f"{what}: outcomes({name[:80]!r}) names no deployment of the project"
    yield from _seconds(what, "remembers", pipeline.remembers_s, 0)
    yield from _seconds(what, "limit", pipeline.limit_s, 0.01, _DAY_S)


def _listed(what: str, kind: str, names: Iterable[str], group: Iterable[Any], where: str) -> Iterator[str]:
    known = {found.name for found in group}
    for name in names:
        if name not in known:
            yield f"{what}: {kind} {name[:80]!r} is not in the project's {where}=[...]"


def _shared_outputs(project: d.ProjectDefinition) -> Iterator[str]:
    """Outputs are told apart by the raw record that they come from: two pipelines must not make the same source of it."""
    seen: dict[tuple[str, str], str] = {}
    for pipeline in project.pipelines:
        for source in pipeline.sources:
            other = seen.setdefault((pipeline.raw, source), pipeline.name)
            if other != pipeline.name:
                yield (
                    f"pipelines {other} and {pipeline.name} both turn {pipeline.raw} into {source}: make one pipeline of them"
                )


def _deployment(project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    what = named("deployment", found.name)
    yield from _name("model", found.model)
    yield from _text(what, "unit", found.unit, 200, 1)
    yield from _inputs(what, found)
    yield from _bindings(what, project, found)
    yield from _derived(what, project, found)
    yield from _seconds(what, "feature delay (settle)", found.settle_s, 0, 31 * _DAY_S)
    yield from _seconds(what, "evaluation window (cohort)", found.cohort_s, 1, 366 * _DAY_S)
    if not 0 < found.coverage <= 1:
        yield f"{what}: coverage must lie in 0..1, got {_figure(found.coverage)} (percent?)"
    yield from _one_of(what, "answer", found.answer, ("committed", "fast"))
    yield from _seconds(what, "time_limit", found.time_limit_s, 0.001, 3600)
    yield from _label(what, found.label)
    yield from _fallback(what, found)
    yield from _training(what, found)
    yield from _monitoring(what, found)
    yield from _breaker(what, found)
    yield from rollout(found.name, found.rollout)
    for name, text in (("owner", found.owner), ("intended_use", found.intended_use)):
        yield from _text(what, name, text)


def _inputs(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    yield from _count(what, "the number of inputs", len(found.inputs), 0, MOST_INPUTS)
    seen: set[str] = set()
    for field in found.inputs:
        yield from _text(what, "an input's name", field.name, 200, 1)
        if field.name in seen:
            yield f"{what}: {field.name[:80]!r} is declared twice; give each its own name"
        seen.add(field.name)
        yield from _one_of(what, f"the kind of {field.name[:80]}", field.kind, INPUT_KINDS)
        for name, limit in (("low", field.low), ("high", field.high)):
            yield from _finite(what, f"{name} of {field.name[:80]}", limit)
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


def _derived(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[str]:
    """Derived columns have names of their own, and read inputs, features, or derived columns declared before them."""
    yield from _count(what, "the number of derived columns", len(found.derived), 0, MOST_INPUTS)
    kinds = {field.name: field.kind for field in found.inputs}
    views = {view.name: view for view in project.views}
    kinds |= {
        f"{view.name}.{feature.name}": "number"
        for binding in found.features
        if (view := views.get(binding.view)) is not None
        for feature in view.features
    }
    for derived in found.derived:
        yield from _text(what, "a derived column's name", derived.name, 200, 1)
        if derived.name in kinds:
            yield f"{what}: derived column {derived.name!r} has the name of another column"
        wrong = _wrong_expression(derived.expression, kinds)
        if wrong:
            yield f"{what}: derived column {derived.name!r} {wrong}"
        kinds[derived.name] = "number"


def _wrong_expression(expression: Any, kinds: dict[str, str]) -> str | None:
    """NB: without recursion, since its depth is somebody else's choice."""
    strangers = set[str]()
    waiting: list[tuple[Any, int, str]] = [(expression, 0, "")]
    count = 0
    while waiting:
        term, depth, within = waiting.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_NODES:
            return f"is deeper than {_DEEPEST} or has more than {_MOST_NODES} terms"
        if isinstance(term, str):
            if term not in kinds:
                strangers.add(term[:80])
            elif kinds[term] != "number" and within not in _OF_TEXTS:
                return f"computes with {term!r}, which is a text; compare it with == or !="
        elif isinstance(term, list | tuple):
            wrong = _wrong_call(term, within)
            if wrong:
                return wrong
            if term[0] != "text":
                waiting += [(argument, depth + 1, term[0]) for argument in term[1:]]
        elif isinstance(term, bool) or not isinstance(term, int | float) or not _fits_float(term):
            return f"is made of columns, finite numbers and texts, got {str(term)[:80]!r}"
    known = ", ".join(sorted(kinds))
    return f"reads {sorted(strangers)}; there are {known[:500]}" if strangers else None


def _wrong_call(term: list[Any] | tuple[Any, ...], within: str) -> str | None:
    if not term or not isinstance(term[0], str):
        return "holds a list without an operator"
    if term[0] == "text":
        if len(term) != 2 or not isinstance(term[1], str):
            return "holds a text constant that is no text"
        return None if within in _OF_TEXTS else f"computes with the text {term[1][:80]!r}; compare it with == or !="
    arity = ARITIES.get(term[0])
    if arity is None:
        return f"uses {term[0][:80]!r}, which this version does not know: upgrade"
    return None if len(term) == arity + 1 else f"gives {len(term) - 1} values to {term[0]!r}, which takes {arity}"


def _fits_float(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _label(what: str, label: d.LabelDefinition | None) -> Iterator[str]:
    if label is None:
        return
    yield from _text(what, "the label's name", label.name, 200, 1)
    yield from _one_of(what, "the label's kind", label.kind, LABEL_KINDS)
    yield from _one_of(what, "absent", label.absent, ("unknown", "negative"))
    yield from _seconds(what, "the label's horizon", label.horizon_s, 1)
    yield from _count(what, "the number of classes", len(label.classes), 0, 10_000)


def _fallback(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    is_probability = found.label is not None and found.label.kind == "binary"
    kinds = [step.kind for step in found.ladder]
    for step in found.ladder:
        yield from _one_of(what, "a step of the fallback", step.kind, STEPS)
        if step.kind == "prior":
            if step.value is None or not math.isfinite(step.value):
                yield f"{what}: prior needs a number, got {step.value}"
            elif is_probability and not 0 <= step.value <= 1:
                yield f"{what}: prior is a probability and must lie in 0..1, got {step.value:g} (percent?)"
    if len(set(kinds)) < len(kinds):
        yield f"{what}: a step of the fallback stands there twice: {', '.join(kinds)}"
    if "prior" in kinds and kinds[-1] != "prior":
        yield f"{what}: prior is always the last step of the fallback"


def _training(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    training = found.training
    if training is not None:
        if found.label is None:
            yield f"{what}: training needs a label, such as label=Binary('late', horizon='24h')"
        yield from _text(what, "training's build", training.build, 500, 3)
        yield from _seconds(what, "training's history", training.history_s, 1)
        yield from _seconds(what, "training's holdout", training.holdout_s, 1)
        yield from _seconds(what, "training's embargo", training.embargo_s, 0)
        yield from _seconds(what, "training's first_after", training.first_after_s, 0)
        yield from _count(what, "training's min_rows", training.min_rows, 1, 10**9)
        yield from _count(what, "training's seed", training.seed, 0, 2**32 - 1)
    for gate in found.gates:
        yield from _one_of(what, "a gate", gate.kind, GATES)
        yield from _finite(what, f"the margin of {gate.kind[:80]}", gate.margin)


def _monitoring(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    for test in found.monitoring:
        yield from _text(what, "a detector", test.detector, 100, 1)
        yield from _text(what, "a detector's figure", test.figure, 100, 1)
        yield from _seconds(what, "a detector's evaluation window", test.cohort_s, 1, 366 * _DAY_S)
        if not (0 <= test.delta < math.inf and 0 < test.threshold < math.inf):
            yield f"{what}: a detector's delta must be at least 0 and its threshold above 0, got {test.delta}, {test.threshold}"
        yield from _count(what, "a detector's min_cohorts", test.min_cohorts, 1, 10**6)
    if found.retraining is not None:
        yield from _seconds(what, "retraining's cooldown", found.retraining.cooldown_s, 0)
        yield from _count(what, "the number of reasons to retrain", len(found.retraining.on), 0, 100)
        for kind in found.retraining.on:
            yield from _text(what, "a reason to retrain", kind, 100, 1)


def _breaker(what: str, found: d.DeploymentDefinition) -> Iterator[str]:
    breaker = found.breaker
    yield from _share(what, "breaker=Breaker(failure_share=...)", breaker.failure_share)
    yield from _share(what, "breaker=Breaker(slow_share=...)", breaker.slow_share)
    yield from _share(what, "degrade_when", found.degrade_when)
    if found.degrade_when is not None and not found.features:
        yield f"{what}: degrade_when needs features=[...] that may be missing"
    counts = (breaker.window_calls, breaker.min_calls, breaker.probes)
    if not (min(counts) >= 1 and breaker.min_calls <= breaker.window_calls and max(counts) <= 1_000_000):
        yield f"{what}: breaker counts must be at least 1, and min_calls at most window_calls; got {counts}"
    yield from _seconds(what, "breaker=Breaker(slow=...)", breaker.slow_s, 0, 3600)
    yield from _seconds(what, "breaker=Breaker(window=...)", breaker.window_s, 0.001, _DAY_S)
    yield from _seconds(what, "breaker=Breaker(rest=...)", breaker.open_s, 0, _DAY_S)


def rollout(deployment: str, plan: d.RolloutDefinition) -> Iterator[str]:
    """The rules of a rollout's plan that are broken."""
    what = f"{named('deployment', deployment)}: rollout"
    yield from (f"{what} {otherwise}" for holds, otherwise in _of_plan(plan) if not holds)
    for name, value, least_s in (
        ("step", plan.step_s, 0),
        ("shadow_first", plan.shadow_first_s, 0),
        ("block", plan.block_s, 1),
        ("label_delay", plan.label_delay_s, 0),
        ("duration", plan.duration_s, 1),
        ("silence", plan.silence_s, 0.001),
        ("rollback_window", plan.rollback_window_s, 0),
    ):
        yield from _seconds(named("deployment", deployment), f"rollout {name}", value, least_s)
    for guardrail in plan.guardrails:
        if not (0 <= guardrail.limit < math.inf and 0 <= guardrail.consecutive <= 1_000_000):
            yield (
                f"{what} guardrail {guardrail.metric[:80]}: limit and consecutive must not be negative,"
                f" got {_figure(guardrail.limit)} and {guardrail.consecutive}"
            )


def _of_plan(plan: d.RolloutDefinition) -> list[tuple[bool, str]]:
    shares, strangers = plan.shares, sorted({g.metric[:80] for g in plan.guardrails} - set(METRICS))
    told = str(shares)[:200]
    rules = [
        (plan.policy in POLICIES, f"knows {', '.join(POLICIES)}, got {plan.policy[:80]!r}"),
        (0 < plan.alpha < 1, f"alpha must lie between 0 and 1, got {plan.alpha}"),
        (0 <= plan.margin <= 1, f"margin must not be negative and at most 1, got {plan.margin}"),
        (1 <= plan.min_decisions <= 10**9, f"min_decisions must be at least 1, got {_figure(plan.min_decisions)}"),
        (len(shares) <= 100, f"may have 100 steps, got {len(shares)}"),
        (all(0 < s <= 1 for s in shares), f"shares must lie in 0..1, got {told} (percent?)"),
        (not strangers, f"guardrails know {', '.join(METRICS)}, got {', '.join(strangers)}"),
        (len(plan.guardrails) <= 100, f"may have 100 guardrails, got {len(plan.guardrails)}"),
        (plan.winner in ("rule", "hand"), f"winner must be 'rule' or 'hand', got {plan.winner[:80]!r}"),
    ]
    if plan.policy == "canary":
        rules.append((bool(shares) and shares[-1] == 1, f"shares must end with 1, got {told}"))
        rules.append((list(shares) == sorted(set(shares)), f"shares must grow from step to step, got {told}"))
        rules.append((len(shares) > 1, "shares must have a step below 1; use BlueGreen() to switch at once"))
    if plan.policy == "ab_test":
        rules.append((len(shares) == 1 and all(s < 1 for s in shares), f"share must be below 1, got {told}"))
    return rules
