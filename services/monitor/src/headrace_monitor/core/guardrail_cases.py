"""What the guardrails count of each request: one row for the decision, and one more for each result that came late."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import GuardrailDefinition
from headrace.events.inference import DecisionMade
from headrace_monitor.core.arms import BAD, GOOD, UNASKED, Kind, PendingRequest, Range, Result, calls, scaled_scores
from headrace_monitor.core.guardrails import LatencyTest, SeenFailures, ShareTest, guardrail_test

Numbers = Mapping[str, Mapping[str, Sequence[float]]]

# Whose failures are counted once: those of the two arms, and those in the streak of the new arm.
_ARMS = ("new", "control", "streak")

# One request, or one late result of it, packed into one number (this is done for every request): two bits for each of these.
Row = int
_NEW_OWN, _NEW_CASE, _NEW, _CONTROL_OWN, _CONTROL_CASE, _CONTROL, _STREAK, _WITNESS = range(0, 16, 2)


def _row(
    new_own: bool,
    new_case: bool,
    new: Kind,
    control_own: bool,
    control_case: bool,
    control: Kind,
    streak: Kind,
    witness: Kind,
) -> Row:
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
    """The guardrails of one rollout, and which failures have counted.

    `numbers`: what `GuardrailCases.numbers` returned before a restart; empty for a new rollout. `has_control`: without one,
    every failure of the version counts by itself. `within`: the range of a number.
    """

    def __init__(
        self,
        guardrails: Mapping[str, GuardrailDefinition],
        numbers: Numbers,
        *,
        has_control: bool,
        within: Range | None = None,
    ) -> None:
        self.tests = {
            metric: guardrail_test(metric, found.limit, numbers.get(metric)) for metric, found in guardrails.items()
        }
        self._new, self._control, self._streak = (SeenFailures.restored(numbers.get(f"once.{arm}")) for arm in _ARMS)
        self._within = within
        self._call: tuple[float, float] | None = None
        if "call" in numbers:
            ours, theirs = numbers["call"]["last"]
            self._call = (ours, theirs)
        self._silent_witness = UNASKED if has_control else GOOD

    def row(
        self, decision: DecisionMade, share: float, owners: tuple[bool, bool], kinds: tuple[Kind, Kind], *, waits: bool
    ) -> Row:
        """The row of a decision. `owners`, `kinds`: of the new arm and of the control's.

        `waits`: the streak waits for the result of the control.
        """
        (new_own, control_own), (new, control) = owners, kinds
        new_case = new is not UNASKED and (new_own or share <= 0)
        control_case = control is not UNASKED and (control_own or share >= 1)
        streak = new if new_case and not waits else UNASKED
        if new >= BAD:
            streak = self._once_in_streak(streak, decision.unit, decision.row)
            new_case = new_case and self._new.is_first(decision.unit, decision.row)
        if control >= BAD and control_case:
            control_case = self._control.is_first(decision.unit, decision.row)
        witness = control if control is not UNASKED else self._silent_witness
        return _row(new_own, new_case, new, control_own, control_case, control, streak, witness)

    def row_of_late_new(self, pending: PendingRequest, result: Result) -> Row:
        """The row of a late result of the new version: a case only where the version has no traffic of its own."""
        kind, is_case = result.kind, is_late_case(pending, result)
        streak = kind if is_case and not pending.control_due else UNASKED
        if kind >= BAD and is_case:
            streak = self._once_in_streak(streak, pending.unit, pending.row)
            is_case = self._new.is_first(pending.unit, pending.row)
        witness = pending.control.kind if pending.control is not None else self._silent_witness
        return _row(False, is_case, kind, False, False, UNASKED, streak, witness)

    def row_of_late_control(self, pending: PendingRequest, result: Result) -> Row:
        """The row of a late result of the control. A failure of the new version that has waited for it counts now."""
        kind, is_case = result.kind, result.kind != UNASKED and pending.share >= 1
        if kind >= BAD and is_case:
            is_case = self._control.is_first(pending.unit, pending.row)
        streak = self._once_in_streak(pending.in_streak, pending.unit, pending.row)
        return _row(pending.share > 0, False, UNASKED, False, is_case, kind, streak, kind)

    def _once_in_streak(self, kind: Kind, unit: str, row: bytes) -> Kind:
        return kind if kind < BAD or self._streak.is_first(unit, row) else UNASKED

    def add(self, rows: Sequence[Row], pairs: Sequence[tuple[Result, Result]]) -> None:
        """Feed every guardrail. `rows`: in order; `pairs`: the results of both versions for the same requests."""
        table = np.array(rows, dtype=np.int64)
        for metric, test in self.tests.items():
            if isinstance(test, ShareTest):
                if len(rows):
                    _add_shares(metric, test, table)
            elif isinstance(test, LatencyTest):
                *took_ms, self._call = calls(pairs, self._call)
                test.take(*took_ms)
            else:
                test.take(*scaled_scores(pairs, self._within))

    def numbers(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers from which it continues after a restart."""
        once = zip(_ARMS, (self._new, self._control, self._streak), strict=True)
        call = {} if self._call is None else {"call": {"last": list(self._call)}}
        return (
            {metric: test.state() for metric, test in self.tests.items()}
            | {f"once.{arm}": seen.state() for arm, seen in once}
            | call
        )


def is_late_case(pending: PendingRequest, result: Result) -> bool:
    """Whether a late result of the new version counts for its arm."""
    return result.kind != UNASKED and pending.share <= 0


def _add_shares(metric: str, test: ShareTest, rows: NDArray[np.int64]) -> None:
    def part(place: int) -> NDArray[np.int64]:
        return rows >> place & 3

    in_new, in_control, in_streak = part(_NEW_CASE) > 0, part(_CONTROL_CASE) > 0, part(_STREAK) > 0
    if metric == "degraded":
        # Only a version's own units can be degraded: a shadow answers nobody.
        is_own = part(_NEW_OWN) > 0
        in_new, in_control, in_streak = in_new & is_own, in_control & (part(_CONTROL_OWN) > 0), in_streak & is_own
    least = Kind.INVALID if metric == "invalid_scores" else BAD
    test.bet(in_new, part(_NEW) >= least, in_control, part(_CONTROL) >= least)
    test.streak.take(in_streak, part(_STREAK) >= least, part(_WITNESS) > 0, part(_WITNESS) >= least)
