"""Metrics that can be computed of the label's kind, and slices by columns whose values a window can know."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from headrace.events import definition as d
from headrace.project.applicable.wording import A_LABEL, unknown
from headrace.project.declare import Project
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence
from headrace.stats.metric_names import USUAL, is_reference, shown, why_no_metric


def metric_refusals(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the metrics and slices of one deployment."""
    if found.label is None:
        for name in ("metrics", "slices"):
            if getattr(found, name):
                yield Sentence(f"{what}: {name} need a label, such as {A_LABEL}", (name,))
        return
    for number, name in enumerate(found.metrics):
        before = {*map(shown, found.metrics[:number]), *(USUAL[found.label.kind] if is_reference(name) else ())}
        if shown(name) in before:
            problem = f"there are two metrics {shown(name)!r}: leave one out, or rename its function"
            yield Sentence(f"{what}: {problem}", ("metrics", number))
        elif not is_reference(name) and (why := why_no_metric(name, found.label.kind)) is not None:
            yield Sentence(f"{what}: the metric {name[:80]!r} {why}", ("metrics", number))
    known = sliceable(found)
    for number, name in enumerate(found.slices):
        if name in found.slices[:number]:
            yield Sentence(f"{what}: the slice {name[:80]!r} is named twice", ("slices", number))
        elif name not in known:
            problem = unknown(name, known) if known else f"got {name[:80]!r}, and the deployment has none"
            yield Sentence(
                f"{what}: slices need a Category, or a Key that binds a view alone, {problem}", ("slices", number)
            )


def sliceable(found: d.DeploymentDefinition) -> list[str]:
    """The inputs by which a deployment's windows can be sliced.

    A category is in the logged row, and a key that alone names the entity of a view is logged with it.
    """
    bound = {binding.fields[0] for binding in found.features if len(binding.fields) == 1}
    return [
        field.name
        for field in found.inputs
        if field.kind == "category" or (field.kind == "key" and field.name in bound)
    ]


def function_refusals(project: Project) -> Iterator[Sentence]:
    """The functions among the metrics that another process could not find by name and call as `f(labels, scores)`."""
    for found in project.deployments:
        for number, metric in enumerate(found.metrics):
            if not isinstance(metric, str) and (why := _why_not(metric)) is not None:
                yield Sentence(f"{named('deployment', found.name)}: a metric {why}", ("metrics", number))


def _why_not(metric: Callable[..., Any]) -> str | None:
    name = getattr(metric, "__qualname__", None)
    if inspect.isclass(metric) or name is None:
        return f"must be a name or a function written by def, got {metric!r:.80}"
    if "<" in name or "." in name:
        return f"must be a function of a module, written by def, got {name}"
    if inspect.iscoroutinefunction(metric) or inspect.isgeneratorfunction(metric):
        return f"must return a number: write {name} by def, without async or yield"
    try:
        inspect.signature(metric).bind(0, 0)
    except TypeError:
        return f"is called as {name}(labels, scores), and takes {inspect.signature(metric)}"
    return None
