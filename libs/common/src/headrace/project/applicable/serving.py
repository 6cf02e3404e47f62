"""Columns for the model, steps of the fallback chain that can answer, and a breaker that can count."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.wording import duration
from headrace.project.deployments import Deployment
from headrace.project.rules.sentences import Place, Sentence

_USUAL_SLOW_S = d.BreakerDefinition().slow_s
_USUAL_STEP_DOWN = Deployment("d", "u", ()).step_down_after


def serving_refusals(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the serving of one deployment."""
    yield from _columns(what, project, found)
    yield from _fallback(what, found)
    yield from _breaker(what, found)


def _columns(what: str, project: d.ProjectDefinition, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    columns = [(field.name, ("inputs", number)) for number, field in enumerate(found.inputs) if field.kind != "key"]
    views = {view.name: view for view in project.views}
    for number, binding in enumerate(found.features):
        columns += [
            (f"{binding.view}.{feature.name}", ("features", number)) for feature in views[binding.view].features
        ]
    seen: dict[str, Place] = {}
    for name, place in columns:
        if seen.setdefault(name, place) != place:
            yield Sentence(f"{what}: two columns are called {name[:80]!r}: rename the input", seen[name])


def _fallback(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    kinds = [step.kind for step in found.fallback]
    if "baseline" in kinds and all(field.kind == "key" for field in found.inputs):
        problem = "baseline uses the inputs alone, and none of them is a Number or Category"
        yield Sentence(f"{what}: {problem}", ("fallback", kinds.index("baseline")), ("fallback",))
    if found.step_down_after not in (None, _USUAL_STEP_DOWN) and "prior" not in kinds:
        problem = (
            "step_down_after compares a version with the prior, and there is no prior: add prior(...) to fallback=[...]"
        )
        yield Sentence(f"{what}: {problem}", ("step_down_after",))
    if found.degrade_when is not None and not {"baseline", "prior"} & set(kinds):
        problem = "degrade_when sends requests to a step that needs no features, and there is none"
        yield Sentence(f"{what}: {problem}: add baseline or prior(...) to fallback=[...]", ("degrade_when",))


def _breaker(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    breaker = found.breaker
    if breaker.slow_s != _USUAL_SLOW_S and breaker.slow_s >= found.time_limit_s:
        problem = f"slow {duration(breaker.slow_s)} is not below time_limit {duration(found.time_limit_s)}"
        yield Sentence(
            f"{what}: {problem}: a call is ended before it counts as slow", ("breaker", "slow"), ("time_limit",)
        )
    for name, share in (("failure_share", breaker.failure_share), ("slow_share", breaker.slow_share)):
        if share == 0:
            yield Sentence(
                f"{what}: {name} 0 opens the breaker on every call; 1 opens it only when all calls fail or are slow",
                ("breaker", name),
            )
