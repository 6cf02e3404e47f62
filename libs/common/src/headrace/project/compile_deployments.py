"""Compiles a deployment: durations to seconds, policies to their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.events.policies import RetrainingDefinition
from headrace.project.compile_monitoring import compile_charts, compile_detectors
from headrace.project.compile_streams import compile_source, compile_view
from headrace.project.deployments import Breaker, Deployment, FallbackStep
from headrace.project.derived import trace
from headrace.project.fields import Binary, Category, Input, Key, Multiclass, Number, Regression
from headrace.project.labels import BINARY, CLASSES, NUMBER
from headrace.project.rollouts import compile_rollout
from headrace.project.rules.bounds import named
from headrace.project.views import FeatureView


def compile_deployment(found: Deployment) -> d.DeploymentDefinition:
    """A deployment's part of the definition, with its digest. Raises `Misconfigured`, which names the deployment."""
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
        feature_delay_s=seconds(found.feature_delay),
        label=_compile_label(found),
        fallback=tuple(_compile_step(found, step) for step in found.fallback),
        training=_compile_training(found),
        gates=tuple(d.GateDefinition(gate.kind, gate.margin, gate.unmeasured) for gate in found.gates),
        monitoring=compile_detectors(found),
        retraining=_compile_retraining(found),
        rollout=compile_rollout(
            found.name, found.rollout, None if found.label is None else seconds(found.label.horizon)
        ),
        evaluation_window_s=seconds(found.evaluation_window),
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
        efficacy_s=None if found.efficacy is None else seconds(found.efficacy),
        metrics=tuple(metric if isinstance(metric, str) else reference_of(metric) for metric in found.metrics),
        slices=tuple(found.slices),
        charts=compile_charts(found),
        audit_share=found.audit_share,
    )
    return msgspec.structs.replace(compiled, digest=d.digest_of(compiled))


def _compile_input(found: Input) -> d.InputDefinition:
    match found:
        case Number(name, low, high, nullable):
            return d.InputDefinition(name, "number", low, high, nullable)
        case Category(name, nullable):
            return d.InputDefinition(name, "category", nullable=nullable)
        case Key(name, nullable):
            return d.InputDefinition(name, "key", nullable=nullable)


def _kinds_of(view: FeatureView) -> tuple[str, ...]:
    """The kinds of the source's fields that make up the view's entity."""
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


def _compile_step(found: Deployment, step: FallbackStep) -> d.FallbackStepDefinition:
    value = step.value
    if value is None or isinstance(value, int | float):
        return d.FallbackStepDefinition(step.kind, value)
    if isinstance(value, Mapping):
        return _by_name(found, step.kind, value)
    return d.FallbackStepDefinition(step.kind, probabilities=tuple(value))


def _by_name(found: Deployment, kind: str, probabilities: Mapping[Any, Any]) -> d.FallbackStepDefinition:
    """A prior given by class. Raises `Misconfigured` where its classes are not those of the label."""
    names = () if found.label is None or isinstance(found.label, Regression) else _names(found.label.classes)
    by_name = {str(name): share for name, share in probabilities.items()}
    if set(by_name) != set(names):
        known = f"the label's classes are {', '.join(names)}" if names else "the label names no classes"
        raise Misconfigured(
            f"{named('deployment', found.name)}: prior names {', '.join(by_name)}, and {known}: give each class its probability"
        )
    in_order = tuple(by_name[name] for name in names)
    return (
        d.FallbackStepDefinition(kind, in_order[1])
        if isinstance(found.label, Binary)
        else d.FallbackStepDefinition(kind, None, in_order)
    )


def _compile_training(found: Deployment) -> d.TrainingDefinition | None:
    training = found.training
    if training is None:
        return None
    return d.TrainingDefinition(
        build=reference_of(training.build),
        history_s=seconds(training.history),
        holdout_s=seconds(training.holdout),
        embargo_s=seconds(training.embargo),
        first_after_s=seconds(training.first_after),
        min_rows=training.min_rows,
        seed=training.seed,
        first_after_rows=training.first_after_rows,
        min_rows_after_change=training.min_rows_after_change,
    )


def _compile_retraining(found: Deployment) -> RetrainingDefinition | None:
    policy = found.retraining
    if policy is None:
        return None
    return RetrainingDefinition(
        tuple(policy.on),
        seconds(policy.cooldown),
        policy.unhelpful,
        None if policy.every is None else seconds(policy.every),
        policy.cron or "",
        policy.after_rows,
    )


def reference_of(function: Any) -> str:
    """The reference by which another process finds a user's function."""
    return f"{function.__module__}:{function.__qualname__}"
