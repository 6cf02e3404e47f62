"""From the user's declarations to the compiled definition: wrong ones are refused here, with what to change."""

import types
import typing
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.project import definition as d
from headrace.project.declare import Project
from headrace.project.deployments import Breaker, Category, Deployment, Input, Key, Number
from headrace.project.derived import columns_of, trace
from headrace.project.durations import seconds
from headrace.project.pipelines import OutcomesOf, Pipeline
from headrace.project.rollouts import compile_rollout
from headrace.project.sources import Source
from headrace.project.views import FeatureView

_KINDS: dict[Any, str] = {float: "number", int: "integer", str: "text", bool: "flag", datetime: "instant"}
_TYPES = {kind: python for python, kind in _KINDS.items()}


def compile_project(project: Project) -> d.ProjectDefinition:
    """The definition of a declared project. Raises `Misconfigured` naming the declaration and the way out."""
    compiled = d.ProjectDefinition(
        name=project.name,
        raw=tuple(d.RawStreamDefinition(raw.name, raw.format, raw.partitions) for raw in project.raw),
        sources=tuple(compile_source(source) for source in project.sources),
        views=tuple(compile_view(view) for view in project.views),
        pipelines=tuple(_compile_pipeline(found) for found in project.pipelines),
        deployments=tuple(_compile_deployment(found) for found in project.deployments),
        references=tuple(d.ReferenceDefinition(found.name, found.partitions) for found in project.references),
    )
    for group in (project.raw, project.sources, project.views, project.deployments, project.references):
        _refuse_twice("project", project.name, [found.name for found in group])
    _refuse_strangers(project, compiled)
    return compiled


def digest(project: d.ProjectDefinition) -> str:
    """The digest of a whole definition."""
    return d.digest_of(project)


def event_struct(source: d.SourceDefinition) -> type[msgspec.Struct]:
    """A struct that reads a source's events by its compiled contract, for services that do not import the user's code."""
    fields = [_struct_field(field) for field in source.fields]
    return msgspec.defstruct(_pascal(source.name), sorted(fields, key=len), frozen=True, gc=False, kw_only=True)


def compile_source(source: Source) -> d.SourceDefinition:
    """A source's contract, from the annotations of its event type."""
    fields = tuple(_field(source.name, field) for field in msgspec.structs.fields(source.event))
    known = {field.name: field for field in fields}
    for role, name in (("event_time", source.event_time), ("available_at", source.available_at)):
        if name is not None and (name not in known or known[name].kind not in ("instant", "number")):
            raise Misconfigured(
                f"source {source.name}: {role}={name!r} must be a datetime or float field of {source.event.__name__}"
            )
    if source.available_at is not None and source.available_after:
        raise Misconfigured(f"source {source.name}: give available_at or available_after, not both")
    if source.dedupe is not None and source.dedupe not in known:
        raise Misconfigured(f"source {source.name}: dedupe={source.dedupe!r} is not a field of {source.event.__name__}")
    if source.key not in known:
        raise Misconfigured(f"source {source.name}: key={source.key!r} is not a field of {source.event.__name__}")
    return d.SourceDefinition(
        source.name,
        fields,
        source.event_time,
        source.key,
        source.partitions,
        source.available_at,
        seconds(source.available_after),
        source.dedupe,
        seconds(source.dedupe_within),
    )


def compile_view(view: FeatureView) -> d.ViewDefinition:
    """A view's aggregations; every column must be a numeric or flag field of the source."""
    source = compile_source(view.source)
    kinds = {field.name: field.kind for field in source.fields}
    entity = (view.entity,) if isinstance(view.entity, str) else tuple(view.entity)
    for name in entity:
        if name not in kinds:
            raise Misconfigured(f"view {view.name}: entity {name!r} is not a field of source {source.name}")
    features = tuple(
        d.FeatureDefinition(
            name,
            found.kind,
            found.column,
            int(seconds(found.window)),
            None if found.default is None else float(found.default),
            None if found.stale_after is None else seconds(found.stale_after),
        )
        for name, found in view.features.items()
    )
    if not features:
        raise Misconfigured(f"view {view.name}: it has no features; give features={{'landed_3h': Count('3h')}}, say")
    for feature in features:
        if feature.column is not None and kinds.get(feature.column) not in ("number", "integer", "flag"):
            raise Misconfigured(
                f"view {view.name}: {feature.name} needs a number or flag, and {feature.column!r} of {source.name} is none"
            )
        _refuse_window(view.name, feature)
    return d.ViewDefinition(view.name, source.name, entity, features, d.digest_of(view.name, source, entity, features))


def _refuse_window(view: str, feature: d.FeatureDefinition) -> None:
    width = pane_width_s(feature.window_s)
    if feature.window_s <= 0 or feature.window_s % width:
        raise Misconfigured(
            f"view {view}: the window of {feature.name} must be a multiple of {width} s, got {feature.window_s} s"
        )


def pane_width_s(window_s: int) -> int:
    """Pane width of a window: up to 3 h five minutes, up to 3 d one hour, longer one day.

    >>> pane_width_s(3 * 3600), pane_width_s(86_400)
    (300, 3600)
    """
    if window_s <= 3 * 3600:
        return 300
    return 3600 if window_s <= 3 * 86_400 else 86_400


def _field(source: str, field: msgspec.structs.FieldInfo) -> d.FieldSpec:
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    kinds = [_KINDS.get(option) for option in options if option is not type(None)]
    if len(kinds) != 1 or kinds[0] is None:
        raise Misconfigured(
            f"source {source}: field {field.name} must be float, int, str, bool or datetime (or one of them | None)"
        )
    return d.FieldSpec(field.name, kinds[0], nullable=len(options) > 1)


def _struct_field(field: d.FieldSpec) -> tuple[Any, ...]:
    python = _TYPES[field.kind]
    return (field.name, python | None, None) if field.nullable else (field.name, python)


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _compile_pipeline(pipeline: Pipeline) -> d.PipelineDefinition:
    return d.PipelineDefinition(
        name=pipeline.name,
        function=_reference(pipeline.transform),
        raw=pipeline.raw.name,
        sources=tuple(target.name for target in pipeline.to if isinstance(target, Source)),
        outcomes=tuple(target.deployment for target in pipeline.to if isinstance(target, OutcomesOf)),
        enrich=tuple(reference.name for reference in pipeline.enrich),
        remembers_s=seconds(pipeline.remembers),
        limit_s=seconds(pipeline.limit),
    )


def _compile_input(found: Input) -> d.InputDefinition:
    match found:
        case Number(name, low, high, nullable):
            return d.InputDefinition(name, "number", low, high, nullable)
        case Category(name, nullable):
            return d.InputDefinition(name, "category", nullable=nullable)
        case Key(name, nullable):
            return d.InputDefinition(name, "key", nullable=nullable)


def _compile_deployment(found: Deployment) -> d.DeploymentDefinition:
    _refuse_twice("deployment", found.name, [field.name for field in found.inputs])
    compiled = d.DeploymentDefinition(
        name=found.name,
        model=found.model or found.name,
        unit=found.unit,
        inputs=tuple(_compile_input(field) for field in found.inputs),
        features=tuple(
            d.BindingDefinition(
                binding.view.name, binding.fields, compile_view(binding.view).key, _kinds_of(binding.view)
            )
            for binding in found.features
        ),
        settle_s=seconds(found.settle),
        label=_compile_label(found),
        ladder=tuple(d.RungDefinition(rung.kind, rung.value) for rung in found.ladder),
        training=_compile_training(found),
        gates=tuple(d.GateDefinition(gate.kind, gate.margin) for gate in found.gates),
        monitoring=_compile_monitoring(found),
        retraining=_compile_retraining(found),
        rollout=compile_rollout(found.name, found.rollout),
        cohort_s=seconds(found.cohort),
        coverage=found.coverage,
        answer=found.answer,
        digest="",
        derived=tuple(d.DerivedDefinition(derived.name, trace(derived)) for derived in found.derived),
        breaker=_compile_breaker(found.breaker),
        time_limit_s=seconds(found.time_limit),
        degrade_when=found.degrade_when,
        owner=found.owner,
        intended_use=found.intended_use,
    )
    _refuse_deployment(compiled)
    _refuse_derived(found, compiled)
    return msgspec.structs.replace(compiled, digest=d.digest_of(compiled))


def _kinds_of(view: FeatureView) -> tuple[str, ...]:
    """The kinds of the source's fields that name the view's entity."""
    entity = (view.entity,) if isinstance(view.entity, str) else tuple(view.entity)
    kinds = {field.name: field.kind for field in compile_source(view.source).fields}
    return tuple(kinds[name] for name in entity)


def _compile_breaker(found: Breaker) -> d.BreakerDefinition:
    return d.BreakerDefinition(
        failure_share=found.failure_share,
        slow_share=found.slow_share,
        slow_s=seconds(found.slow),
        window_s=seconds(found.window),
        window_calls=found.window_calls,
        min_calls=found.min_calls,
        open_s=seconds(found.rest),
        probes=found.probes,
    )


def _refuse_resilience(found: d.DeploymentDefinition) -> None:
    shares = {
        "breaker=Breaker(failure_share=...)": found.breaker.failure_share,
        "breaker=Breaker(slow_share=...)": found.breaker.slow_share,
        "degrade_when": found.degrade_when if found.degrade_when is not None else 0.0,
    }
    for name, share in shares.items():
        _require(0 <= share <= 1, f"deployment {found.name}: {name} must lie in 0..1, got {share} (percent?)")
    counts = (found.breaker.window_calls, found.breaker.min_calls, found.breaker.probes)
    _require(
        min(counts) >= 1 and found.breaker.min_calls <= found.breaker.window_calls,
        f"deployment {found.name}: breaker counts must be at least 1, and min_calls at most window_calls; got {counts}",
    )
    _require(found.time_limit_s > 0, f"deployment {found.name}: time_limit must be above 0, got {found.time_limit_s} s")
    _require(
        found.degrade_when is None or bool(found.features),
        f"deployment {found.name}: degrade_when needs features=[...] that may be missing",
    )


def _refuse_deployment(found: d.DeploymentDefinition) -> None:
    _refuse_resilience(found)
    if found.answer not in ("committed", "fast"):
        raise Misconfigured(f"deployment {found.name}: answer must be committed or fast, got {found.answer!r}")
    if not 0 < found.coverage <= 1:
        raise Misconfigured(f"deployment {found.name}: coverage must lie in 0..1, got {found.coverage} (percent?)")
    if found.training and not found.label:
        raise Misconfigured(
            f"deployment {found.name}: training needs a label, such as label=Binary('late', horizon='24h')"
        )
    if found.ladder and found.ladder[-1].kind != "prior" and any(rung.kind == "prior" for rung in found.ladder):
        raise Misconfigured(f"deployment {found.name}: prior is always the last rung of the ladder")


def _refuse_derived(found: Deployment, compiled: d.DeploymentDefinition) -> None:
    """Derived columns have names of their own, and read inputs, features, or derived columns declared before them."""
    known = {field.name for field in compiled.inputs}
    known |= {f"{binding.view.name}.{name}" for binding in found.features for name in binding.view.features}
    for derived in compiled.derived:
        _require(
            derived.name not in known,
            f"deployment {found.name}: derived column {derived.name!r} has the name of another column",
        )
        strangers = sorted(columns_of(derived.expression) - known)
        _require(
            not strangers,
            f"deployment {found.name}: derived column {derived.name!r} reads {strangers}; there are {', '.join(sorted(known))}",
        )
        known.add(derived.name)


def _compile_label(found: Deployment) -> d.LabelDefinition | None:
    label = found.label
    return None if label is None else d.LabelDefinition(label.name, "binary", seconds(label.horizon), label.absent)


def _compile_training(found: Deployment) -> d.TrainingDefinition | None:
    training = found.training
    if training is None:
        return None
    return d.TrainingDefinition(
        build=_reference(training.build),
        history_s=seconds(training.history),
        holdout_s=seconds(training.holdout),
        embargo_s=seconds(training.embargo),
        first_after_s=seconds(training.first_after),
        min_rows=training.min_rows,
        seed=training.seed,
    )


def _compile_retraining(found: Deployment) -> d.RetrainingDefinition | None:
    policy = found.retraining
    return None if policy is None else d.RetrainingDefinition(tuple(policy.on), seconds(policy.cooldown))


def _reference(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _compile_monitoring(found: Deployment) -> tuple[d.DriftDefinition, ...]:
    return tuple(
        d.DriftDefinition(
            "page_hinkley", test.figure, seconds(found.cohort), test.delta, test.threshold, test.min_cohorts
        )
        for test in found.monitoring
    )


def _refuse_twice(what: str, name: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for found in names:
        if found in seen:
            raise Misconfigured(f"{what} {name}: {found!r} is declared twice; give each its own name")
        seen.add(found)


def _refuse_strangers(project: Project, compiled: d.ProjectDefinition) -> None:
    """Everything that is referred to must be listed in the project, and bindings must fit."""
    sources, raw, views = (
        {found.name for found in group} for group in (compiled.sources, compiled.raw, compiled.views)
    )
    inputs = {deployment.name: {field.name for field in deployment.inputs} for deployment in compiled.deployments}
    if len({source.partitions for source in compiled.sources}) > 1:
        raise Misconfigured(
            f"project {project.name}: all sources must have the same number of partitions (partition p of all is one shard)"
        )
    for view in compiled.views:
        _require(
            view.source in sources, f"view {view.name}: source {view.source!r} is not in the project's sources=[...]"
        )
    _refuse_shared_outputs(compiled)
    for pipeline in compiled.pipelines:
        _require(
            pipeline.raw in raw,
            f"pipeline {pipeline.name}: raw stream {pipeline.raw!r} is not in the project's raw=[...]",
        )
        for name in pipeline.enrich:
            _require(
                name in {found.name for found in compiled.references},
                f"pipeline {pipeline.name}: reference {name!r} is not in the project's references=[...]",
            )
        for name in pipeline.sources:
            _require(
                name in sources, f"pipeline {pipeline.name}: source {name!r} is not in the project's sources=[...]"
            )
        for name in pipeline.outcomes:
            _require(name in inputs, f"pipeline {pipeline.name}: outcomes({name!r}) names no deployment of the project")
    for deployment in compiled.deployments:
        for binding in deployment.features:
            _require(
                binding.view in views,
                f"deployment {deployment.name}: view {binding.view!r} is not in the project's views=[...]",
            )
            _require_fields(deployment, binding, compiled, inputs[deployment.name])


def _require_fields(
    deployment: d.DeploymentDefinition, binding: d.BindingDefinition, compiled: d.ProjectDefinition, inputs: set[str]
) -> None:
    entity = compiled.view(binding.view).entity
    _require(
        len(entity) == len(binding.fields),
        f"deployment {deployment.name}: {binding.view}.by(...) needs {len(entity)} fields {entity}, got {binding.fields}",
    )
    for field in binding.fields:
        _require(
            field in inputs,
            f"deployment {deployment.name}: {binding.view}.by({field!r}) names no input; add Key({field!r})",
        )


def _refuse_shared_outputs(compiled: d.ProjectDefinition) -> None:
    """Outputs are told apart by the raw record that they come from: two pipelines must not make the same source of it."""
    seen: dict[tuple[str, str], str] = {}
    for pipeline in compiled.pipelines:
        for source in pipeline.sources:
            other = seen.setdefault((pipeline.raw, source), pipeline.name)
            _require(
                other == pipeline.name,
                f"pipelines {other} and {pipeline.name} both turn {pipeline.raw} into {source}: make one pipeline of them",
            )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Misconfigured(otherwise)
