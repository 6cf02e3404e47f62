"""Functions of the user's that are found again by their name, and take what they are given."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from headrace.project.declare import Project
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence


def build_refusals(project: Project) -> Iterator[Sentence]:
    """The `build` of each deployment that another process could not call."""
    seen: dict[tuple[str, str], Any] = {}
    for found in project.deployments:
        if found.training is None:
            continue
        build, what = found.training.build, named("deployment", found.name)
        wrong = _why_not(build)
        name = (getattr(build, "__module__", ""), getattr(build, "__qualname__", ""))
        if wrong is None and seen.setdefault(name, build) is not build:
            wrong = f"has the name of another one, {name[1]}: the trainer could not tell them apart; write each by def"
        if wrong is not None:
            yield Sentence(f"{what}: training's build {wrong}", ("training", "build"))


def _why_not(build: Callable[..., Any]) -> str | None:
    if not hasattr(build, "__qualname__") or inspect.isclass(build):
        return f"must be a function written by def, got a {type(build).__name__}"
    if inspect.iscoroutinefunction(build) or inspect.isgeneratorfunction(build):
        return "must return an estimator: write it by def, without async or yield"
    needed = [
        parameter.name
        for parameter in inspect.signature(build).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    takes_none = not inspect.signature(build).parameters
    if takes_none or len(needed) > 1:
        return f"is called as build(signature), and takes ({', '.join(inspect.signature(build).parameters)})"
    return None
