"""Which versions are loaded, in which order, and which fit their deployment's columns."""

from headrace.events.registry import ColumnPin, Route, Signature
from headrace.features.rows import misfit
from headrace_inference.core.loading import LONGEST_WAIT_S, Tries, on_failure, plan_loads


def test_everything_that_a_route_names_is_loaded_champions_first() -> None:
    route = Route("d", {3: 1.0}, "s", 1, previous=2, baseline=1, shadows=(2,), warm=(4,))
    known = {("d", v) for v in (1, 2, 3, 4)}
    assert plan_loads([route], known, set(), set()).load == (("d", 3), ("d", 2), ("d", 1), ("d", 4))


def test_a_version_that_was_never_tried_goes_before_one_that_has_failed_and_a_champion_before_both() -> None:
    routes = [Route(name, {1: 1.0}, "s", 1, warm=(2,)) for name in "abc"]
    known = {(name, version) for name in "abc" for version in (1, 2)}
    plan = plan_loads(routes, known, {("c", 1)}, set(), {("a", 1): Tries(1), ("a", 2): Tries(1)})
    assert plan.load == (("b", 1), ("a", 1), ("b", 2), ("c", 2), ("a", 2))


def test_however_long_the_loads_that_fail_take_every_version_gets_its_turn_again_and_again() -> None:
    routes = [Route(name, {1: 1.0}, "s", 1, warm=(2,)) for name in "abc"]
    known = {(name, version) for name in "abc" for version in (1, 2)}
    tries: dict[tuple[str, int], Tries] = {}
    turns, now_s = [], 0.0
    for _ in range(200):
        load = plan_loads(routes, known, set(), set(), tries, now_s).load
        if not load:
            now_s = min(found.due_s for found in tries.values())
            continue
        turns.append(load[0])
        # NB: each takes longer than the longest wait between tries: whoever has failed is due again before the next one has ended.
        now_s += 10 * LONGEST_WAIT_S
        tries[load[0]] = on_failure(tries.get(load[0], Tries()), now_s).state
    assert turns[:3] == [("a", 1), ("b", 1), ("c", 1)]
    assert {turns[n : n + 12] == turns[n + 6 : n + 18] for n in range(50, 150)} == {True}
    assert set(turns[50:56]) == known


def test_a_refused_version_is_not_tried_again_and_an_unwanted_one_goes() -> None:
    route = Route("d", {3: 1.0}, "s", 1, champion=3, previous=2, baseline=1)
    plan = plan_loads([route], {("d", 3), ("d", 2)}, {("d", 9)}, {("d", 3)})
    assert plan.load == (("d", 2),)
    assert plan.unload == (("d", 9),)


def test_a_version_whose_columns_or_views_changed_does_not_fit() -> None:
    bare = Signature((ColumnPin("x"), ColumnPin("c", ())), "b", "views")
    assert misfit(Signature((ColumnPin("x"), ColumnPin("c", ("AA",))), "v", "views"), bare) is None
    assert misfit(Signature((ColumnPin("x"),), "v", "views"), bare) is not None
    assert misfit(Signature(bare.columns, "v", "other"), bare) is not None


def test_a_version_of_inputs_only_fits_whatever_becomes_of_the_views() -> None:
    bare = Signature((ColumnPin("x"), ColumnPin("v.mean")), "b", "views")
    assert misfit(Signature((ColumnPin("x"),), "v", ""), bare) is None
    assert misfit(Signature((ColumnPin("y"),), "v", ""), bare) is not None
