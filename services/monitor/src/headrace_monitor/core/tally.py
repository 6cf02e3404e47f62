"""What the guardrails count of requests: each as one row, once for the decision and once more for what came late of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade
from headrace.policy.guardrails import LatencyTest, Once, ShareTest, guardrail_test
from headrace.project.definition import GuardrailDefinition
from headrace_monitor.core.arms import Kind, Said, Wait, calls, shares

Bools = NDArray[np.bool_]
Numbers = Mapping[str, Mapping[str, Sequence[float]]]


class Row(NamedTuple):
    """One request, or what came late of one. `*_own`: the unit is the version's; `*_case`: it counts for the arm, as `new` or `control`.

    `streak`: what the new arm's streak gets of it; `witness`: the control's word on this request.
    """

    new_own: bool
    new_case: bool
    new: Kind
    control_own: bool
    control_case: bool
    control: Kind
    streak: Kind
    witness: Kind


class Tally:
    """The guardrails of one rollout. `has_control`: without one every failure of the version counts by itself."""

    def __init__(self, rails: Mapping[str, GuardrailDefinition], numbers: Numbers, *, has_control: bool) -> None:
        self.tests = {metric: guardrail_test(metric, rail.limit, numbers.get(metric)) for metric, rail in rails.items()}
        self._new, self._control, self._streak = (Once.restored(numbers.get(f"once.{arm}")) for arm in _ARMS)
        self._call: tuple[float, float] | None = None
        if "call" in numbers:
            ours, theirs = numbers["call"]["last"]
            self._call = (ours, theirs)
        self._silent_witness = Kind.UNASKED if has_control else Kind.GOOD

    def row(
        self, decision: DecisionMade, share: float, owners: tuple[bool, bool], said: tuple[Kind, Kind], *, is_held: bool
    ) -> Row:
        """A decision. `owners`, `said`: of the new arm and of the control's. `is_held`: the streak waits for the control's word."""
        (new_own, control_own), (new, control) = owners, said
        new_case = new is not Kind.UNASKED and (new_own or share <= 0)
        control_case = control is not Kind.UNASKED and (control_own or share >= 1)
        streak = new if new_case and not is_held else Kind.UNASKED
        if new >= Kind.BAD:
            streak = self._once_in_streak(streak, decision.unit, decision.row)
            new_case = new_case and self._new.is_first(decision.unit, decision.row)
        if control >= Kind.BAD and control_case:
            control_case = self._control.is_first(decision.unit, decision.row)
        witness = control if control is not Kind.UNASKED else self._silent_witness
        return Row(new_own, new_case, new, control_own, control_case, control, streak, witness)

    def row_of_late_new(self, wait: Wait, said: Said) -> Row:
        """What the new version said late: a case where it has no traffic of its own."""
        kind, is_case = said.kind, is_late_case(wait, said)
        streak = kind if is_case and not wait.control_due else Kind.UNASKED
        if kind >= Kind.BAD and is_case:
            streak = self._once_in_streak(streak, wait.unit, wait.row)
            is_case = self._new.is_first(wait.unit, wait.row)
        witness = wait.control.kind if wait.control is not None else self._silent_witness
        return Row(False, is_case, kind, False, False, Kind.UNASKED, streak, witness)

    def row_of_late_control(self, wait: Wait, said: Said) -> Row:
        """What the control said late; a failure of the new version that has waited for it counts now."""
        kind, is_case = said.kind, said.kind != Kind.UNASKED and wait.share >= 1
        if kind >= Kind.BAD and is_case:
            is_case = self._control.is_first(wait.unit, wait.row)
        streak = self._once_in_streak(wait.in_streak, wait.unit, wait.row)
        return Row(wait.share > 0, False, Kind.UNASKED, False, is_case, kind, streak, kind)

    def _once_in_streak(self, kind: Kind, unit: str, row: bytes) -> Kind:
        return kind if kind < Kind.BAD or self._streak.is_first(unit, row) else Kind.UNASKED

    def take(self, rows: Sequence[Row], pairs: Sequence[tuple[Said, Said]]) -> None:
        """Every guardrail sees the rows, or the requests that both versions have spoken of."""
        table = np.array(rows, dtype=np.int8).reshape(-1, len(Row._fields)).T
        for metric, test in self.tests.items():
            if isinstance(test, ShareTest):
                if len(rows):
                    _take_shares(metric, test, table)
            elif isinstance(test, LatencyTest):
                *took_ms, self._call = calls(pairs, self._call)
                test.take(*took_ms)
            else:
                test.take(*shares(pairs))

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
    return said.kind != Kind.UNASKED and wait.share <= 0


def _take_shares(metric: str, test: ShareTest, table: NDArray[np.int8]) -> None:
    """Only own units can be degraded: a shadow answers nobody."""
    new_own, new_case, new, control_own, control_case, control, streak, witness = table
    in_new, in_control = new_case > 0, control_case > 0
    in_streak = streak > 0
    if metric == "degraded":
        in_new, in_control, in_streak = (
            in_new & (new_own > 0),
            in_control & (control_own > 0),
            in_streak & (new_own > 0),
        )
    least = Kind.INVALID if metric == "invalid_scores" else Kind.BAD
    test.bet(in_new, new >= least, in_control, control >= least)
    test.streak.take(in_streak, streak >= least, witness > 0, witness >= least)
