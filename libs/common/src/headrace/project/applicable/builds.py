"""User functions that another process must find by name and call with the agreed arguments."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from headrace.project.declare import Project
from headrace.project.pipelines import Pipeline
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence


def build_refusals(project: Project) -> Iterator[Sentence]:
    """The `build` of each deployment and the function of each pipeline that another process could not call."""
    for pipeline in project.pipelines:
        if (wrong := _why_no_transform(pipeline)) is not None:
            yield Sentence(f"{named('pipeline', pipeline.name)}: {wrong}")
    yield from _builds(project)


def _builds(project: Project) -> Iterator[Sentence]:
    seen: dict[tuple[str, str], Any] = {}
    for found in project.deployments:
        if found.training is None:
            continue
        build, what = found.training.build, named("deployment", found.name)
        wrong = _why_not(build)
        name = (getattr(build, "__module__", ""), getattr(build, "__qualname__", ""))
        if wrong is None and seen.setdefault(name, build) is not build:
            wrong = (
                f"has the same name as another one, {name[1]}: the trainer could not tell them apart; write each by def"
            )
        if wrong is not None:
            yield Sentence(f"{what}: training's build {wrong}", ("training", "build"))


def _why_not(build: Callable[..., Any]) -> str | None:
    if inspect.isclass(build):
        return f"must be a function written by def that returns {build.__name__}(...), got the class"
    if not hasattr(build, "__qualname__"):
        return f"must be a function written by def, got a {type(build).__name__}"
    if inspect.iscoroutinefunction(build) or inspect.isgeneratorfunction(build):
        return "must return an estimator: write it by def, without async or yield"
    wanted = inspect.signature(build)
    if not _takes(wanted, 1) and not _takes(wanted, 2):
        return f"is called as build(signature), and takes {wanted}"
    return None


def _why_no_transform(pipeline: Pipeline) -> str | None:
    """Why a pipeline's function is no transform; None when it may be one.

    NB: a wrapped function, or one that returns another generator, may be valid.
    """
    transform, count = pipeline.transform, 1 + len(pipeline.enrich)
    if inspect.iscoroutinefunction(transform) or inspect.isgeneratorfunction(transform):
        return "its function must be an async generator: async def, with a yield"
    if not _takes(inspect.signature(transform), count):
        references = "".join(f", {reference.name}" for reference in pipeline.enrich)
        return f"its function is called with (messages{references}), and takes {inspect.signature(transform)}"
    return None


def _takes(signature: inspect.Signature, count: int) -> bool:
    """Whether the signature accepts `count` positional arguments."""
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
