"""From the user's declarations to the compiled definition: wrong ones are refused here, with what to change."""

import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.policy.figures import loss_of
from headrace.project import definition as d
from headrace.project.declare import Project
from headrace.project.declared import wrong_arguments
from headrace.project.deployments import (
    Binary,
    Breaker,
    Category,
    Deployment,
    Input,
    Key,
    LabelKind,
    LossChange,
    Multiclass,
    Number,
    PageHinkley,
    Regression,
    Rung,
)
from headrace.project.derived import trace
from headrace.project.durations import seconds
from headrace.project.labels import BINARY, CLASSES, NUMBER
from headrace.project.pipelines import OutcomesOf, Pipeline
from headrace.project.rollouts import compile_rollout
from headrace.project.rules import check, named, pane_width_s
from headrace.project.rules.sentences import Sentence
from headrace.project.sources import Source
from headrace.project.threads import said
from headrace.project.views import FeatureView

__all__ = ["compile_project", "compile_source", "compile_view", "digest", "event_struct", "pane_width_s"]

_KINDS: dict[Any, str] = {float: "number", int: "integer", str: "text", bool: "flag", datetime: "instant"}
_TYPES = {kind: python for python, kind in _KINDS.items()}


def compile_project(project: Project) -> d.ProjectDefinition:
    """The definition of a declared project. Raises `Misconfigured` naming the declaration and the way out."""
    for sentence in wrong_arguments(project):
        raise Misconfigured(sentence)
    try:
        compiled = _compiled(project)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        # NB: declarations are not checked when they are made: a wrong type shows up here, in Python's words.
        name = str(getattr(project, "name", project))[:80]
        if isinstance(error, UnicodeEncodeError):
            told = f"a text of it holds half of a surrogate pair, {error.object[:80]!r}: it is no text"
            raise Misconfigured(f"{named('project', name)}: {told}") from error
        raise Misconfigured(f"{named('project', name)}: a declaration has a wrong type: {said(error)}") from error
    check(compiled)
    return compiled


def _compiled(project: Project) -> d.ProjectDefinition:
    return d.ProjectDefinition(
        name=project.name,
        raw=tuple(d.RawStreamDefinition(raw.name, raw.format, raw.partitions) for raw in project.raw),
        sources=tuple(compile_source(source) for source in project.sources),
        views=tuple(compile_view(view) for view in project.views),
        pipelines=tuple(_compile_pipeline(found) for found in project.pipelines),
        deployments=tuple(_compile_deployment(found) for found in project.deployments),
        references=tuple(d.ReferenceDefinition(found.name, found.partitions) for found in project.references),
    )


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
                Sentence(
                    f"{named('source', source.name)}: {role}={name!r} must be a datetime or float field of {source.event.__name__}",
                    (role,),
                )
            )
    if source.available_at is not None and source.available_after:
        both = f"{named('source', source.name)}: give available_at or available_after, not both"
        raise Misconfigured(Sentence(both, ("available_after",)))
    for role, name in (("dedupe", source.dedupe), ("key", source.key)):
        if name is not None and name not in known:
            told = f"{role}={name!r} is not a field of {source.event.__name__}"
            raise Misconfigured(Sentence(f"{named('source', source.name)}: {told}", (role,)))
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
            told = f"entity {name!r} is not a field of source {source.name}"
            raise Misconfigured(Sentence(f"{named('view', view.name)}: {told}", ("entity",)))
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
    return d.ViewDefinition(view.name, source.name, entity, features, d.digest_of(view.name, source, entity, features))


def _field(source: str, field: msgspec.structs.FieldInfo) -> d.FieldSpec:
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    kinds = [_KINDS.get(option) for option in options if option is not type(None)]
    if len(kinds) != 1 or kinds[0] is None:
        raise Misconfigured(
            f"{named('source', source)}: field {field.name} must be float, int, str, bool or datetime (or one of them | None)"
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
        ladder=tuple(_compile_rung(found, rung) for rung in found.ladder),
        training=_compile_training(found),
        gates=tuple(d.GateDefinition(gate.kind, gate.margin, gate.unmeasured) for gate in found.gates),
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
        step_down_after=found.step_down_after,
    )
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


def _compile_label(found: Deployment) -> d.LabelDefinition | None:
    label = found.label
    match label:
        case None:
            return None
        case Multiclass():
            return d.LabelDefinition(label.name, CLASSES, seconds(label.horizon), classes=_names(label.classes))
        case Regression():
            return d.LabelDefinition(label.name, NUMBER, seconds(label.horizon), low=label.low, high=label.high)
        case _:
            return d.LabelDefinition(label.name, BINARY, seconds(label.horizon), label.absent, _names(label.classes))


def _names(classes: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(name) for name in classes)


def _compile_rung(found: Deployment, rung: Rung) -> d.RungDefinition:
    value = rung.value
    if value is None or isinstance(value, int | float):
        return d.RungDefinition(rung.kind, value)
    if isinstance(value, Mapping):
        return _by_name(found, rung.kind, value)
    return d.RungDefinition(rung.kind, shares=tuple(value))


def _by_name(found: Deployment, kind: str, shares: Mapping[Any, Any]) -> d.RungDefinition:
    """A prior by class. Raises `Misconfigured` where the label does not name the same ones."""
    names = () if found.label is None or isinstance(found.label, Regression) else _names(found.label.classes)
    by_name = {str(name): share for name, share in shares.items()}
    if set(by_name) != set(names):
        told = f"the label's classes are {', '.join(names)}" if names else "the label names no classes"
        raise Misconfigured(
            f"{named('deployment', found.name)}: prior names {', '.join(by_name)}, and {told}: give each class its probability"
        )
    in_order = tuple(by_name[name] for name in names)
    return (
        d.RungDefinition(kind, in_order[1])
        if isinstance(found.label, Binary)
        else d.RungDefinition(kind, None, in_order)
    )


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
        first_after_rows=training.first_after_rows,
        min_rows_after_change=training.min_rows_after_change,
    )


def _compile_retraining(found: Deployment) -> d.RetrainingDefinition | None:
    policy = found.retraining
    if policy is None:
        return None
    return d.RetrainingDefinition(tuple(policy.on), seconds(policy.cooldown), policy.unhelpful)


def _reference(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _compile_monitoring(found: Deployment) -> tuple[d.DriftDefinition, ...]:
    loss = loss_of(_kind_of(found.label))
    return tuple(_compile_detector(test, loss, seconds(found.cohort)) for test in found.monitoring)


def _compile_detector(test: PageHinkley | LossChange, loss: str, cohort_s: float) -> d.DriftDefinition:
    if isinstance(test, LossChange):
        return d.DriftDefinition("loss_change", loss, cohort_s, test.rise, test.limit, test.windows)
    figure = loss if test.figure is None else test.figure
    return d.DriftDefinition("page_hinkley", figure, cohort_s, test.delta, test.threshold, test.min_cohorts)


def _kind_of(label: LabelKind | None) -> str:
    match label:
        case Multiclass():
            return CLASSES
        case Regression():
            return NUMBER
        case _:
            return BINARY
