"""What a route becomes, whole values: each change is one revision later and leaves everything else as it is."""

from dataclasses import replace as replaced

import pytest
from msgspec.structs import replace

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import PassedOver, Route
from headrace.registry.state import Entry, Rollout
from headrace_registry.core.routes import (
    names,
    passing_over,
    restored,
    rolled_back,
    route_of,
    shared,
    standing_again,
    switched,
    unpaired,
    warming,
    with_baseline,
    with_override,
)

OVER = PassedOver(7, "f7", "drift")
ROUTE = Route(
    "d", {3: 1.0}, "salt", 9, champion=3, previous=2, baseline=1, shadows=(3, 2), warm=(3, 2, 7), reason="before",
    overrides={"acme": 7, "shop": 4}, rollout="r1", passed_over=(OVER,),
)  # fmt: skip
ENTRY = Entry(route=ROUTE)
CANARY = Rollout("r1", 5, RolloutDefinition("canary"), control=3)


def test_without_a_route_the_prior_answers() -> None:
    assert route_of(ENTRY, "d") == ROUTE
    assert route_of(Entry(), "d") == Route("d", {}, "d", 0)


def test_a_version_is_kept_warm_beside_the_others() -> None:
    assert warming(ENTRY, "d", 5, "r2") == replace(
        ROUTE, revision=10, warm=(2, 3, 5, 7), rollout="r2", reason="warming version 5"
    )


@pytest.mark.parametrize(("share", "shares"), [(0.25, {3: 0.75, 5: 0.25}), (0.0, {3: 1.0})])
def test_a_share_is_taken_from_the_control_and_both_score_along(share: float, shares: dict[int, float]) -> None:
    assert shared(ENTRY, "d", CANARY, share, "why") == replace(
        ROUTE, revision=10, shares=shares, shadows=(3, 5), reason="why"
    )


@pytest.mark.parametrize(
    ("plan", "shadows"),
    [
        (RolloutDefinition("canary", shadow_previous=False), (3,)),
        (RolloutDefinition("blue_green", shadow_previous=True), (3,)),
        (RolloutDefinition("blue_green", shadow_previous=False), ()),
    ],
)
def test_after_a_switch_the_old_version_is_previous_and_scores_along_where_wanted(
    plan: RolloutDefinition, shadows: tuple[int, ...]
) -> None:
    assert switched(ENTRY, "d", Rollout("r1", 5, plan, control=3), "why") == replace(
        ROUTE, revision=10, shares={5: 1.0}, champion=5, previous=3, shadows=shadows, warm=(5, 3, 4, 7), rollout="", reason="why"
    )  # fmt: skip


def test_the_first_champion_has_nobody_before_it() -> None:
    found = switched(Entry(), "d", Rollout("r1", 5, RolloutDefinition("canary")), "why")
    assert found == Route("d", {5: 1.0}, "d", 1, champion=5, warm=(5,), reason="why")


def test_a_version_that_is_rolled_back_is_named_nowhere_and_no_other_is_touched() -> None:
    found = rolled_back(ENTRY, "d", 4, 2, 1, "why")
    assert found == replace(
        ROUTE, revision=10, shares={2: 1.0}, champion=2, previous=1, shadows=(), warm=(2, 1, 7), rollout="", reason="why",
        overrides={"acme": 7},
    )  # fmt: skip
    assert not names(found, 4)


def test_a_bad_version_is_no_baseline_any_more() -> None:
    assert rolled_back(ENTRY, "d", 1, 2, None, "why").baseline is None
    assert rolled_back(ENTRY, "d", 3, 2, None, "why").baseline == 1


def test_after_the_rollback_window_nobody_scores_along() -> None:
    assert unpaired(ENTRY, "d") == replace(ROUTE, revision=10, shadows=(), reason="the rollback window is over")


def test_a_baseline_is_named() -> None:
    assert with_baseline(ENTRY, "d", 6, "why") == replace(ROUTE, revision=10, baseline=6, reason="why")


def test_a_tenant_gets_a_version_of_its_own_and_is_let_go_again() -> None:
    given = with_override(Entry(route=ROUTE, rollout=CANARY), "d", "acme", 8, "why")
    assert given == replace(
        ROUTE, revision=10, overrides={"shop": 4, "acme": 8}, warm=(3, 2, 5, 4, 8), reason="why", passed_over=()
    )
    gone = with_override(ENTRY, "d", "acme", None, "why")
    assert (gone.overrides, gone.warm) == ({"shop": 4}, (3, 2, 4))


def test_who_is_passed_over_stands_again_with_its_finding() -> None:
    another = PassedOver(2, "f2", "skew")
    over = passing_over(ENTRY, "d", another)
    assert over == replace(ROUTE, revision=10, passed_over=(OVER, another), reason="version 2 is passed over")
    again = standing_again(Entry(route=over), "d", "f7", "why")
    assert again == replace(ROUTE, revision=11, passed_over=(another,), reason="why")


def test_a_version_that_nothing_names_any_more_is_not_passed_over_either() -> None:
    assert with_override(ENTRY, "d", "acme", None, "why").passed_over == ()
    assert unpaired(ENTRY, "d").passed_over == (OVER,)


def test_an_ended_rollout_leaves_the_shares_and_shadows_of_before_and_a_harmful_version_is_named_nowhere() -> None:
    before = Route("d", {3: 0.5, 4: 0.5}, "salt", 2, shadows=(5, 4))
    rollout = replaced(CANARY, before=before)
    back = restored(ENTRY, "d", rollout, "why", is_harmful=False)
    assert back == replace(
        ROUTE, revision=10, shares=before.shares, shadows=(5, 4), warm=(3, 2, 4, 7), rollout="", reason="why"
    )
    assert restored(ENTRY, "d", rollout, "why", is_harmful=True) == replace(back, shadows=(4,))
    assert restored(ENTRY, "d", CANARY, "why", is_harmful=False) == replace(back, shares={}, shadows=())


def test_each_change_begins_with_an_empty_route_where_there_is_none() -> None:
    over = PassedOver(5, "f", "r")
    for made in (
        restored(Entry(), "d", CANARY, "why", is_harmful=False),
        passing_over(Entry(), "d", over),
        standing_again(Entry(), "d", "f", "why"),
        unpaired(Entry(), "d"),
        warming(Entry(), "d", 5, "r1"),
        with_baseline(Entry(), "d", 5, "why"),
        with_override(Entry(), "d", "acme", 5, "why"),
        rolled_back(Entry(), "d", 5, 4, None, "why"),
        switched(Entry(), "d", CANARY, "why"),
        shared(Entry(), "d", CANARY, 0.5, "why"),
    ):
        assert (made.deployment, made.salt, made.revision) == ("d", "d", 1)


@pytest.mark.parametrize(("version", "is_named"), [(1, True), (2, True), (3, True), (4, True), (7, True), (6, False)])
def test_a_route_names_versions_in_any_role(version: int, is_named: bool) -> None:
    assert names(replace(ROUTE, shadows=(), warm=()), version) is is_named
    assert not names(None, version)


@pytest.mark.parametrize("role", [{"shadows": (6,)}, {"warm": (6,)}, {"shares": {6: 1.0}}, {"champion": 6}])
def test_each_role_alone_is_enough(role: dict) -> None:
    assert names(replace(Route("d", {}, "s", 1), **role), 6)
