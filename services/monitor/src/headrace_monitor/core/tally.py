"""What the guardrails count of requests: each as one row, once for the decision and once more for what came late of it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade
from headrace.project.definition import GuardrailDefinition
from headrace_monitor.core.arms import BAD, GOOD, UNASKED, Kind, Range, Said, Wait, calls, shares
from headrace_monitor.core.guardrails import LatencyTest, SeenFailures, ShareTest, guardrail_test

Numbers = Mapping[str, Mapping[str, Sequence[float]]]


# One request, or what came late of one, packed into one number (it is done for every request): two bits for each of these.
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
    """`*_own`: the unit is the version's; `*_case`: it counts for the arm, as `new` or `control`. `streak`: what the new arm's
    streak gets of it; `witness`: the control's word on this request."""
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


class Tally:
    """The guardrails of one rollout. `has_control`: without one every failure of the version counts by itself. `within`: the range of a number."""

    def __init__(
        self,
        rails: Mapping[str, GuardrailDefinition],
        numbers: Numbers,
        *,
        has_control: bool,
        within: Range | None = None,
    ) -> None:
        self.tests = {metric: guardrail_test(metric, rail.limit, numbers.get(metric)) for metric, rail in rails.items()}
        self._new, self._control, self._streak = (SeenFailures.restored(numbers.get(f"once.{arm}")) for arm in _ARMS)
        self._within = within
        self._call: tuple[float, float] | None = None
        if "call" in numbers:
            ours, theirs = numbers["call"]["last"]
            self._call = (ours, theirs)
        self._silent_witness = UNASKED if has_control else GOOD

    def row(
        self, decision: DecisionMade, share: float, owners: tuple[bool, bool], said: tuple[Kind, Kind], *, is_held: bool
    ) -> Row:
        """A decision. `owners`, `said`: of the new arm and of the control's. `is_held`: the streak waits for the control's word."""
        (new_own, control_own), (new, control) = owners, said
        new_case = new is not UNASKED and (new_own or share <= 0)
        control_case = control is not UNASKED and (control_own or share >= 1)
        streak = new if new_case and not is_held else UNASKED
        if new >= BAD:
            streak = self._once_in_streak(streak, decision.unit, decision.row)
            new_case = new_case and self._new.is_first(decision.unit, decision.row)
        if control >= BAD and control_case:
            control_case = self._control.is_first(decision.unit, decision.row)
        witness = control if control is not UNASKED else self._silent_witness
        return _row(new_own, new_case, new, control_own, control_case, control, streak, witness)

    def row_of_late_new(self, wait: Wait, said: Said) -> Row:
        """What the new version said late: a case where it has no traffic of its own."""
        kind, is_case = said.kind, is_late_case(wait, said)
        streak = kind if is_case and not wait.control_due else UNASKED
        if kind >= BAD and is_case:
            streak = self._once_in_streak(streak, wait.unit, wait.row)
            is_case = self._new.is_first(wait.unit, wait.row)
        witness = wait.control.kind if wait.control is not None else self._silent_witness
        return _row(False, is_case, kind, False, False, UNASKED, streak, witness)

    def row_of_late_control(self, wait: Wait, said: Said) -> Row:
        """What the control said late; a failure of the new version that has waited for it counts now."""
        kind, is_case = said.kind, said.kind != UNASKED and wait.share >= 1
        if kind >= BAD and is_case:
            is_case = self._control.is_first(wait.unit, wait.row)
        streak = self._once_in_streak(wait.in_streak, wait.unit, wait.row)
        return _row(wait.share > 0, False, UNASKED, False, is_case, kind, streak, kind)

    def _once_in_streak(self, kind: Kind, unit: str, row: bytes) -> Kind:
        return kind if kind < BAD or self._streak.is_first(unit, row) else UNASKED

    def take(self, rows: Sequence[Row], pairs: Sequence[tuple[Said, Said]]) -> None:
        """Every guardrail sees the rows, or the requests that both versions have spoken of."""
        table = np.array(rows, dtype=np.int64)
        for metric, test in self.tests.items():
            if isinstance(test, ShareTest):
                if len(rows):
                    _take_shares(metric, test, table)
            elif isinstance(test, LatencyTest):
                *took_ms, self._call = calls(pairs, self._call)
                test.take(*took_ms)
            else:
                test.take(*shares(pairs, self._within))

    def numbers(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers, from which it goes on."""
        once = zip(_ARMS, (self._new, self._control, self._streak), strict=True)
        call = {} if self._call is None else {"call": {"last": list(self._call)}}
        return (
            {metric: test.state() for metric, test in self.tests.items()}
            | {f"once.{arm}": seen.state() for arm, seen in once}
            | call
        )


_ARMS = ("new", "control", "streak")


def is_late_case(wait: Wait, said: Said) -> bool:
    """Whether what the new version said late counts for its arm."""
    return said.kind != UNASKED and wait.share <= 0


def _take_shares(metric: str, test: ShareTest, rows: NDArray[np.int64]) -> None:
    """Only own units can be degraded: a shadow answers nobody."""

    def part(place: int) -> NDArray[np.int64]:
        return rows >> place & 3

    in_new, in_control, in_streak = part(_NEW_CASE) > 0, part(_CONTROL_CASE) > 0, part(_STREAK) > 0
    if metric == "degraded":
        is_own = part(_NEW_OWN) > 0
        in_new, in_control, in_streak = in_new & is_own, in_control & (part(_CONTROL_OWN) > 0), in_streak & is_own
    least = Kind.INVALID if metric == "invalid_scores" else BAD
    test.bet(in_new, part(_NEW) >= least, in_control, part(_CONTROL) >= least)
    test.streak.take(in_streak, part(_STREAK) >= least, part(_WITNESS) > 0, part(_WITNESS) >= least)
