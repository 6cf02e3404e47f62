"""Which requests of a rollout count for which arm, and which of them make pairs."""

from typing import Any

from msgspec.structs import replace
from services.monitor.tests.rollouts_scene import STATE, D, decided
from services.monitor.tests.test_rollout_analysis import HOUR, NEW, OLD

from headrace.events.definition import GuardrailDefinition
from headrace.events.failures import Busy, Failure, Raised
from headrace.events.inference import Expired, Score, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace_monitor.core.arms import PENDING_BYTES
from headrace_monitor.core.blocks import Blocks
from headrace_monitor.core.guardrail_cases import GuardrailCases
from headrace_monitor.core.rollout_requests import UNIT_BYTES, RolloutRequests, Seen

RAILS = {metric: GuardrailDefinition(metric, 0.1) for metric in ("errors", "rank_correlation")}


def late(n: int, version: int, failure: Failure | None = None) -> ShadowScored:
    score = Score(version, "", 0.4) if failure is None else None
    return ShadowScored(f"r{n}", "d", f"u{n}", version, 60.0 * n, score, failure, 1.0)


class Taken:
    """The requests of one rollout, read one after another."""

    def __init__(self, state: RolloutJudged = STATE) -> None:
        self.state, self.offset = state, 0
        self.blocks = Blocks(D.label, HOUR, 2 * HOUR, 0.02)  # type: ignore[arg-type]
        self.cases = GuardrailCases(RAILS, {}, has_control=True)
        self.requests = RolloutRequests(NEW, OLD, self.cases, self.blocks, HOUR, {})

    def take(self, *events: Any, place: str = "t/0", again: bool = False) -> "Taken":
        for event in events:
            self.state = self.requests.take([Seen(place, 0 if again else self.offset, event)], self.state)
            self.offset += not again
        return self

    @property
    def pairs(self) -> int:
        """Pairs of the open blocks."""
        return self.blocks.pairs_bytes // self.blocks.pair_bytes

    @property
    def missing(self) -> int:
        """Requests that should have been pairs."""
        return sum(self.blocks._missing.values())

    @property
    def errors(self) -> tuple[list[float], list[float], int]:
        test: Any = self.cases.tests["errors"]
        return test.new.tolist(), test.control.tolist(), test.streak.length

    @property
    def compared(self) -> int:
        """Pairs of scores that the guardrails have seen."""
        test: Any = self.cases.tests["rank_correlation"]
        return test.rows + len(test.open)


def test_each_decision_counts_for_its_arm_and_its_step() -> None:
    found = Taken().take(decided(0, NEW, OLD), decided(1, OLD, NEW), decided(2, OLD), decided(3, NEW, unit="u0"))
    state = found.state
    assert (state.step_seen, state.decisions, state.step_decisions, state.step_units) == (4, 2, 2, (1, 2))
    assert state.step_unasked == (0, 2, 0, 2)
    assert (found.pairs, found.missing, found.compared, found.errors) == (2, 0, 2, ([2, 0], [2, 0], 0))
    assert found.requests.folded == {"t/0": 4}
    assert found.requests.units_bytes == 3 * UNIT_BYTES
    found.requests.begin_step()
    assert found.requests.units_bytes == 0


def test_previews_are_in_no_arm_and_other_shares_in_no_step() -> None:
    found = Taken().take(decided(0, NEW, OLD, override="preview"))
    assert (found.state.step_seen, found.state.decisions, found.state.step_decisions, found.state.step_units) == (
        1,
        1,
        0,
        (0, 0),
    )
    assert (found.pairs, found.compared, found.errors) == (1, 0, ([0, 0], [0, 0], 0))
    other = Taken(replace(STATE, routes={0: 0.5, 7: 0.1})).take(
        decided(0, NEW, route_offset=7), decided(1, NEW, route_offset=9)
    )
    assert (other.state.decisions, other.state.step_decisions, other.state.step_units) == (2, 1, (0, 0))
    early = Taken(replace(STATE, step_clock_s=60.0)).take(decided(0, NEW), decided(1, NEW))
    assert (early.state.decisions, early.state.step_decisions) == (2, 1)
    nobody = Taken().take(decided(0, answer=Expired(1), assigned=None))
    assert (nobody.state.step_seen, nobody.state.step_unasked) == (1, (0, 0, 0, 0))


def test_what_was_not_asked_is_counted_and_is_missing_as_a_pair() -> None:
    found = Taken().take(decided(0, NEW, OLD, answer=Expired(1), failures={str(NEW): Busy("b")}))
    assert (found.state.step_unasked, found.pairs, found.missing) == ((1, 1, 0, 0), 0, 1)
    found.take(decided(1, OLD, failures={str(NEW): Busy("b")}))
    assert (found.state.step_unasked, found.pairs, found.missing) == ((1, 1, 0, 1), 0, 2)
    both = Taken().take(decided(0, NEW, answer=Expired(1), failures={str(NEW): Busy("b"), str(OLD): Busy("b")}))
    assert (both.pairs, both.missing) == (0, 0)
    failed = Taken().take(decided(0, OLD, failures={str(NEW): Raised("r")}))
    assert (failed.pairs, failed.compared) == (1, 0)


def test_a_shadow_that_comes_late_makes_the_pair_and_one_that_never_comes_misses_it() -> None:
    found = Taken().take(decided(0, OLD, shadows_due=(NEW,)), decided(1, OLD, shadows_due=(NEW,)))
    assert (found.pairs, found.requests.pending_bytes, found.requests.due_from_s) == (0, 2 * PENDING_BYTES, 0.0)
    found.take(late(0, NEW), late(0, NEW), late(7, NEW), late(1, 9))
    assert (found.pairs, found.compared, found.requests.pending_bytes) == (1, 1, PENDING_BYTES)
    found.requests.end_blocks(0)
    assert found.missing == 0
    found.requests.end_blocks(1)
    assert (found.pairs, found.missing, found.requests.due_from_s) == (1, 1, None)


def test_a_late_failure_of_the_version_counts_while_it_is_in_shadow() -> None:
    shadow = replace(STATE, share=0.0, routes={0: 0.0})
    found = Taken(shadow).take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW, Raised("r")))
    assert found.errors == ([1, 1], [1, 0], 1)
    both_late = Taken(shadow).take(decided(0, 9, assigned=OLD, shadows_due=(NEW, OLD)), late(0, NEW, Raised("r")))
    assert both_late.errors == ([0, 0], [0, 0], 0)
    assert both_late.take(late(0, OLD)).errors == ([1, 1], [1, 0], 1)
    good = Taken(shadow).take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW))
    assert good.errors == ([1, 0], [1, 0], 0)
    own = Taken().take(decided(0, OLD, shadows_due=(NEW,)), late(0, NEW, Raised("r")))
    assert own.errors == ([1, 1], [1, 0], 0)


def test_a_failure_of_the_version_waits_for_what_the_control_returns_late() -> None:
    found = Taken().take(decided(0, NEW, answer=Expired(1), failures={str(NEW): Raised("r")}, shadows_due=(OLD,)))
    assert found.errors == ([0, 0], [0, 0], 0)
    assert found.take(late(0, OLD)).errors == ([1, 1], [1, 0], 1)
    assert (found.pairs, found.compared) == (1, 0)


def test_what_is_read_again_counts_for_the_blocks_alone() -> None:
    found = Taken().take(decided(0, NEW, OLD))
    found.take(decided(0, NEW, OLD), again=True)
    assert (found.state.step_seen, found.pairs, found.compared, found.errors) == (1, 2, 1, ([1, 0], [1, 0], 0))
