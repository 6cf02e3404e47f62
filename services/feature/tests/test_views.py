"""Which views a shard keeps, builds, or drops, and when those in the making are adopted."""

import msgspec
import pytest

from headrace.events.features import ViewAdopted
from headrace.project import Count, Deployment, FeatureView, Key, Max, Project, Source
from headrace.project.compile import compile_project
from headrace_feature.adapters.records import deleted_by
from headrace_feature.core.views import NEAR_OFFSETS, BuildStep, choose_build_step, choose_duties, plans_of


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")


def view(name: str, **features: object) -> FeatureView:
    return FeatureView(name, source=LANDINGS, entity="carrier", features=features)  # type: ignore[arg-type]


OLD, NEW = view("carrier", n=Count("3h")), view("carrier", n=Count("3h"), most=Max("delay", "3h"))


def defined(*views: FeatureView) -> tuple:
    project = Project("p", [Deployment("d", "u", [Key("carrier")])], sources=[LANDINGS], views=list(views))
    return plans_of([compile_project(project)])["landings"]


def keys(plans: tuple) -> list[str]:
    return [plan.view.key for plan in plans]


def test_a_source_that_was_never_read_keeps_all_defined_views_from_the_start() -> None:
    source, plans = defined(OLD)
    duties = choose_duties(plans, source, None, [])
    assert (keys(duties.keep), duties.build, duties.drop) == (list(plans), (), ())


def test_a_changed_view_is_built_while_the_old_one_is_kept_and_only_then_is_that_dropped() -> None:
    (_, before), (source, after) = defined(OLD), defined(NEW)
    ((old, plan),), (new,) = before.items(), after
    adopted = [ViewAdopted("landings", 0, plan.view, 0.0)]
    duties = choose_duties(after, source, [old], adopted)
    assert (keys(duties.keep), keys(duties.build), duties.drop) == ([old], [new], ())
    duties = choose_duties(after, source, [old, new], adopted)
    assert (keys(duties.keep), keys(duties.build), duties.drop) == ([new], [], (old,))


@pytest.mark.parametrize(
    ("is_reading", "behind", "step"),
    [
        (True, 0, BuildStep.WAIT),
        (False, NEAR_OFFSETS, BuildStep.ADOPT),
        (False, NEAR_OFFSETS + 1, BuildStep.READ_FURTHER),
        (True, NEAR_OFFSETS + 1, BuildStep.WAIT),
    ],
)
def test_views_in_the_making_are_adopted_when_they_are_near(is_reading: bool, behind: int, step: BuildStep) -> None:
    assert choose_build_step(is_reading, behind) is step


def test_the_entity_of_a_deleted_tile_may_hold_slashes() -> None:
    assert deleted_by(b"carrier@1/a/b/0") == ("carrier@1", "a/b")
