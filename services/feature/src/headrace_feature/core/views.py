"""Which views a shard keeps, builds, or drops.

A view is known by its key, name and digest: a changed view is another one. What a shard finds defined but does not keep yet is
built from the beginning of the source, beside the others; what it keeps though nobody defines it any more is kept on until
everything defined is complete, and dropped at the next start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from headrace.events.definition import ProjectDefinition, SourceDefinition
from headrace.events.features import ViewAdopted
from headrace.features.plan import ViewPlan, plan_definition, plan_view

# Views under construction that lag by at most so many offsets catch up with the running ones within one step.
NEAR_OFFSETS = 5000


@dataclass(frozen=True)
class Duties:
    """What a shard does about the views of one source: `keep` and fold, `build` beside them, `drop` for good (by key)."""

    keep: tuple[ViewPlan, ...]
    build: tuple[ViewPlan, ...]
    drop: tuple[str, ...]


class BuildStep(Enum):
    """What to do with views under construction: let the reading go on, read further, or catch up and adopt them."""

    WAIT = "wait"
    READ_FURTHER = "read further"
    ADOPT = "adopt"


def choose_duties(
    defined: Mapping[str, ViewPlan],
    source: SourceDefinition,
    reached: Iterable[str] | None,
    adopted: Iterable[ViewAdopted],
) -> Duties:
    """What to do with a source's views. `reached`: keys of complete views, None when nothing was read of the source yet."""
    if reached is None:
        return Duties(tuple(defined.values()), (), ())
    complete = set(reached)
    old = {found.definition.key: found for found in adopted if found.definition.key not in defined}
    build = tuple(plan for key, plan in defined.items() if key not in complete)
    kept = [plan for key, plan in defined.items() if key in complete]
    if not build:
        return Duties(tuple(kept), (), tuple(sorted(old)))
    kept += [plan_definition(found.definition, source, found.feature_delay_s) for found in old.values()]
    return Duties(tuple(kept), build, ())


def choose_build_step(is_reading: bool, behind_offsets: int) -> BuildStep:
    """What views under construction do next. `behind_offsets`: how far the running views are ahead of them.

    >>> choose_build_step(False, 20_000), choose_build_step(False, 12)
    (<BuildStep.READ_FURTHER: 'read further'>, <BuildStep.ADOPT: 'adopt'>)
    """
    if is_reading:
        return BuildStep.WAIT
    return BuildStep.READ_FURTHER if behind_offsets > NEAR_OFFSETS else BuildStep.ADOPT


def plans_of(projects: Iterable[ProjectDefinition]) -> dict[str, tuple[SourceDefinition, dict[str, ViewPlan]]]:
    """Per source its definition and the plans of its views, by key."""
    return {
        source.name: (
            source,
            {view.key: plan_view(project, view.name) for view in project.views if view.source == source.name},
        )
        for project in projects
        for source in project.sources
    }
