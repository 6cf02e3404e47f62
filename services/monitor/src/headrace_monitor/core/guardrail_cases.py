"""What the guardrails count of each request: one row for the decision, one more for each result that came late, and its pair."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import GuardrailDefinition
from headrace.events.inference import DecisionMade
from headrace_monitor.core.arms import BAD, GOOD, UNASKED, Kind, PendingRequest, Result, calls, ranked_scores
from headrace_monitor.core.counted_once import PASSED_OVER, FirstOfBlock, SeenFailures
from headrace_monitor.core.guardrails import GuardrailTest, LatencyTest, ShareTest, guardrail_test
from headrace_monitor.core.score_tests import DistanceTest

Numbers = Mapping[str, Mapping[str, Sequence[float]]]

# Whose failures are counted once: the rows of the two arms and of the pairs, and the units and rows in the streak.
_FAILED = ("new", "control", "pair", "streak")

# One request, or one late result of it: what was done, packed into one number, the block, and the unit's key. This is made for
# every request. Two bits for each of these:
Row = tuple[int, int, int]
_NEW_OWN, _NEW_CASE, _NEW, _CONTROL_OWN, _CONTROL_CASE, _CONTROL, _STREAK, _WITNESS = range(0, 16, 2)

# What both versions returned for a request, and the key of its unit where the request is a bet; `PASSED_OVER` elsewhere.
Pair = tuple[Result, Result, int]


def _packed(
    new_own: bool,
    new_case: bool,
    new: Kind,
    control_own: bool,
    control_case: bool,
    control: Kind,
    streak: Kind,
    witness: Kind,
) -> int:
    """`*_own`: the unit is in the arm of the version. `*_case`: the request counts for the arm, as `new` or `control`.

    `streak`: what the streak of the new arm gets of it. `witness`: what the control did with this request.
    """
    return (
        new_own
        | new_case << _NEW_CASE
        | new << _NEW
        | control_own << _CONTROL_OWN
        | control_case << _CONTROL_CASE
        | control << _CONTROL
        | streak << _STREAK
        | witness << _WITNESS
    )


class GuardrailCases:
    """The guardrails of one rollout, and which requests and failures have counted.

    `numbers`: what `GuardrailCases.numbers` returned before a restart; empty for a new rollout. `has_control`: without one,
    every failure of the version counts by itself. `is_paired`: both versions score every request. `scores_along`: whether the
    control was asked, for the newest request of the version's units that the version scored. If not (shadows are shed), the
    control is only asked where the version fails, and such a request is no pair: the version's good ones have none.
    """

    def __init__(
        self,
        guardrails: Mapping[str, GuardrailDefinition],
        numbers: Numbers,
        *,
        has_control: bool,
        is_paired: bool = True,
    ) -> None:
        self.tests = {
            metric: guardrail_test(metric, found.limit, numbers.get(metric)) for metric, found in guardrails.items()
        }
        self._failed = {name: SeenFailures.restored(numbers.get(f"once.{name}")) for name in _FAILED}
        self.first = FirstOfBlock.restored(numbers.get("first"))
        self._call: tuple[float, float] | None = None
        if "call" in numbers:
            ours, theirs = numbers["call"]["last"]
            self._call = (ours, theirs)
        self._silent_witness = UNASKED if has_control else GOOD
        self._is_paired = is_paired
        self.scores_along = bool(numbers["pairs"]["along"][0]) if "pairs" in numbers else True

    # one request

    def row(
        self,
        decision: DecisionMade,
        share: float,
        owners: tuple[bool, bool],
        kinds: tuple[Kind, Kind],
        block: int,
        unit: int,
        *,
        waits: bool,
    ) -> Row:
        """The row of a decision. `owners`, `kinds`: of the new arm and of the control's.

        `unit`: its key, or `PASSED_OVER`. `waits`: the streak waits for the result of the control.
        """
        (new_own, control_own), (new, control) = owners, kinds
        is_new = new is not UNASKED and (new_own or share <= 0)
        is_control = control is not UNASKED and (control_own or share >= 1)
        streak = new if is_new and not waits else UNASKED
        if new >= BAD:
            streak = self._once_in_streak(streak, decision.unit, decision.row)
        if unit == PASSED_OVER:
            is_new = is_control = False
        if is_new and new >= BAD:
            is_new = self._failed["new"].is_first_row(decision.row)
        if is_control and control >= BAD:
            is_control = self._failed["control"].is_first_row(decision.row)
        witness = control if control is not UNASKED else self._silent_witness
        done = _packed(new_own, is_new, new, control_own, is_control, control, streak, witness)
        return done, block, unit

    def row_of_late_new(self, pending: PendingRequest, result: Result) -> Row:
        """The row of a late result of the new version, for the streak: where the version has no traffic of its own."""
        streak = result.kind if is_late_case(pending, result) and not pending.control_due else UNASKED
        streak = self._once_in_streak(streak, pending.unit, pending.row)
        witness = pending.control.kind if pending.control is not None else self._silent_witness
        return _packed(False, False, result.kind, False, False, UNASKED, streak, witness), pending.block, 0

    def row_of_late_control(self, pending: PendingRequest, result: Result) -> Row:
        """The row of a late result of the control. A failure of the new version that has waited for it counts now."""
        streak = self._once_in_streak(pending.in_streak, pending.unit, pending.row)
        return _packed(False, False, UNASKED, False, False, result.kind, streak, result.kind), pending.block, 0

    def _once_in_streak(self, kind: Kind, unit: str, row: bytes) -> Kind:
        return kind if kind < BAD or self._failed["streak"].is_first(unit, row) else UNASKED

    def pair(self, unit: int, row: bytes, new: Result, control: Result) -> Pair:
        """A request for which both versions have returned something. `unit`: its key, or `PASSED_OVER`."""
        if (
            unit != PASSED_OVER
            and (new.kind >= BAD or control.kind >= BAD)
            and not self._failed["pair"].is_first_row(row)
        ):
            unit = PASSED_OVER
        return new, control, unit

    # a batch

    def add(self, rows: Sequence[Row], pairs: Sequence[Pair]) -> None:
        """Feed every guardrail. `rows` and `pairs`: in order."""
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        firsts = [(new, control) for new, control, unit in pairs if unit != PASSED_OVER]
        kinds = np.array(
            [(new.kind, control.kind, unit) for new, control, unit in pairs if unit != PASSED_OVER], dtype=np.int64
        ).reshape(-1, 3)
        scores = ranked_scores(firsts)
        for metric, test in self.tests.items():
            self._feed(metric, test, table, kinds, scores, pairs)

    def _feed(
        self,
        metric: str,
        test: GuardrailTest,
        table: NDArray[np.int64],
        kinds: NDArray[np.int64],
        scores: list[tuple[tuple[float, ...], tuple[float, ...]]],
        pairs: Sequence[Pair],
    ) -> None:
        if isinstance(test, ShareTest):
            if len(table):
                is_by_pair = self._is_paired and metric != "degraded"
                _add_rows(metric, test, table, is_by_pair=is_by_pair)
            if self._is_paired and metric != "degraded" and len(kinds):
                least = _least_bad(metric)
                test.bet_on_pairs(kinds[:, 0] >= least, kinds[:, 1] >= least, kinds[:, 2])
        elif isinstance(test, LatencyTest):
            *took_ms, self._call = calls([(new, control) for new, control, _ in pairs], self._call)
            test.take(*took_ms)
        elif isinstance(test, DistanceTest):
            # Of several classes the highest probability.
            test.take([max(new) for new, _ in scores], [max(control) for _, control in scores])
        else:
            test.take(scores)

    def numbers(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers from which it continues after a restart."""
        call = {} if self._call is None else {"call": {"last": list(self._call)}}
        return (
            {metric: test.state() for metric, test in self.tests.items()}
            | {f"once.{name}": seen.state() for name, seen in self._failed.items()}
            | {"first": self.first.state(), "pairs": {"along": [float(self.scores_along)]}}
            | call
        )


def is_late_case(pending: PendingRequest, result: Result) -> bool:
    """Whether a late result of the new version counts for its arm."""
    return result.kind != UNASKED and pending.share <= 0


def _least_bad(metric: str) -> Kind:
    return Kind.INVALID if metric == "invalid_scores" else BAD


def _add_rows(metric: str, test: ShareTest, table: NDArray[np.int64], *, is_by_pair: bool) -> None:
    """Feed the streak, and the bets by arm where the pairs are not bet on."""
    packed, blocks, units = table.T

    def part(place: int) -> NDArray[np.int64]:
        return packed >> place & 3

    least, in_streak = _least_bad(metric), part(_STREAK) > 0
    if metric == "degraded":
        in_streak &= part(_NEW_OWN) > 0
    test.streak.take(in_streak, part(_STREAK) >= least, part(_WITNESS) > 0, part(_WITNESS) >= least, blocks)
    if is_by_pair:
        return
    in_new, in_control = part(_NEW_CASE) > 0, part(_CONTROL_CASE) > 0
    if metric == "degraded":
        # Only a version's own units can be degraded: a shadow answers nobody.
        in_new, in_control = in_new & (part(_NEW_OWN) > 0), in_control & (part(_CONTROL_OWN) > 0)
    test.bet_on_arms(in_new, part(_NEW) >= least, in_control, part(_CONTROL) >= least, units)
