"""`shadow_first`: a canary scores along with the champion for so long before it takes its first share."""

import pytest
from msgspec.structs import replace
from services.registry.tests.rollout_machine import Machine, shadowing

from headrace.testing.registry import CANARY, HOUR_S


def test_no_share_is_taken_before_shadow_first_is_over_on_the_clock_of_the_step() -> None:
    machine = shadowing(Machine())
    machine.judge(100.0)
    assert machine.judge(HOUR_S + 99.0) == []
    assert (machine.entry.rollout.step, machine.entry.rollout.share) == ("shadowing", 0.0)
    machine.judge(HOUR_S + 100.0)
    assert (machine.entry.rollout.step, machine.entry.rollout.share) == ("canary", 0.01)


@pytest.mark.parametrize("shadow_first_s", [0.5, 3 * HOUR_S])
def test_shadow_first_has_a_length_of_its_own(shadow_first_s: float) -> None:
    machine = shadowing(Machine(plan=replace(CANARY, shadow_first_s=shadow_first_s)))
    assert (machine.entry.rollout.step, machine.entry.rollout.share) == ("shadowing", 0.0)
    machine.judge(0.0)
    assert machine.judge(shadow_first_s - 0.1) == []
    machine.judge(shadow_first_s)
    assert machine.entry.rollout.share == 0.01


def test_a_canary_without_shadow_first_takes_its_first_share_at_once() -> None:
    machine = shadowing(Machine(plan=replace(CANARY, shadow_first_s=0.0)))
    assert (machine.entry.rollout.step, machine.entry.rollout.share) == ("canary", 0.01)
    assert machine.route.shares == {1: 0.99, 2: 0.01}
