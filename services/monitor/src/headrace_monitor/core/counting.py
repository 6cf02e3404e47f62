"""Which requests count for a running rollout, and for what: rows and pairs for the guardrails, pairs for the labels' blocks, the step's numbers.

Guardrails take each request once, in the order read (`folded`); blocks take again what is read again after a restart. Previews and
tenants' overrides are in no arm: nothing was drawn. Pairs for the labels are all requests that both versions were asked.

A shadow may speak after its decision was committed (`ShadowScored`, the first one per request and version stands): what it says counts as
if it had stood there, if it comes before the request's block closes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from msgspec.structs import replace

from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace_monitor.core.arms import UNASKED, WAIT_BYTES, Kind, Said, Wait, Waits, assigned, said_late, said_of
from headrace_monitor.core.blocks import Blocks
from headrace_monitor.core.tally import Row, Tally, is_late_case

UNITS_KEPT = 100_000
UNIT_BYTES = 72
WAITS_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision, or what came late of one, as it counts for a rollout. `place`, `offset`: where it lies."""

    place: str
    offset: int
    decision: DecisionMade | ShadowScored


@dataclass(slots=True)
class _Batch:
    """What one batch comes to. `state`: the rollout's before it. `rows`, `pairs`: for the guardrails; the others are added to
    the step, see `RolloutJudged`."""

    state: RolloutJudged
    units: list[int]
    unasked: list[int]
    rows: list[Row] = field(default_factory=list)
    pairs: list[tuple[Said, Said]] = field(default_factory=list)
    seen: int = 0
    own: int = 0
    step: int = 0

    def after(self) -> RolloutJudged:
        """The rollout's state after it."""
        state = self.state
        return replace(
            state,
            step_decisions=state.step_decisions + self.step,
            decisions=state.decisions + self.own,
            step_units=(self.units[0], self.units[1]),
            step_seen=state.step_seen + self.seen,
            step_unasked=_four(self.unasked),
        )


class Counting:
    """The requests of one rollout. `blocks`: None where no label tells; `block_s`: of event time, for the shadows that are due."""

    def __init__(
        self,
        version: int,
        control: int | None,
        tally: Tally,
        blocks: Blocks | None,
        block_s: float,
        folded: Mapping[str, int],
    ) -> None:
        self.version, self.control = version, control
        self._tally, self._blocks, self._block_s = tally, blocks, block_s
        self._waits = Waits(WAITS_KEPT)
        self._folded = dict(folded)
        self._units: set[int] = set()

    def take(self, seen: Sequence[Seen], state: RolloutJudged) -> RolloutJudged:
        """Records of the deployment, in the order read; those read again after a restart count for open blocks only."""
        batch = _Batch(state, list(state.step_units), list(state.step_unasked))
        for one in seen:
            is_fresh = one.offset >= self._folded.get(one.place, 0)
            if is_fresh:
                self._folded[one.place] = one.offset + 1
            match one.decision:
                case DecisionMade() as decision:
                    self._take_decision(decision, batch, is_fresh=is_fresh)
                case ShadowScored() as late:
                    self._take_late(late, batch, is_fresh=is_fresh)
                case _:
                    assert_never(one.decision)
        self._tally.take(batch.rows, batch.pairs)
        return batch.after()

    def begin_step(self) -> None:
        """Units are counted anew."""
        self._units.clear()

    def end_blocks(self, before: int) -> None:
        """The blocks before one are about to close: shadows that are due in them never came."""
        for wait in self._waits.end_blocks(before):
            self._miss(wait)

    def _take_decision(self, decision: DecisionMade, batch: _Batch, *, is_fresh: bool) -> None:
        state = batch.state
        new = said_of(decision, self.version)
        control = said_of(decision, self.control) if self.control is not None else None
        share, is_drawn = state.routes.get(decision.route_offset, state.share), not decision.override
        wait = self._wait_of(decision, share, new, control) if decision.shadows_due else None
        owner = assigned(decision)
        if wait is not None:
            self._wait(decision.request_id, wait, is_fresh=is_fresh)
            is_case = new is not None and (owner == self.version or share <= 0)
            wait.in_streak = new.kind if new is not None and wait.control_due and is_case else UNASKED
        else:
            about = (decision.unit, decision.at_s, decision.request_id)
            self._pair(about, new, control, batch.pairs if is_drawn else None, is_fresh=is_fresh)
        if not is_fresh:
            return
        owners = (owner == self.version, self.control is not None and owner == self.control)
        kinds = (new.kind if new is not None else UNASKED, control.kind if control is not None else UNASKED)
        self._count(decision, share, owners, kinds, batch)
        if is_drawn:
            is_held = wait is not None and wait.control_due
            batch.rows.append(self._tally.row(decision, share, owners, kinds, is_held=is_held))

    def _wait_of(self, decision: DecisionMade, share: float, new: Said | None, control: Said | None) -> Wait | None:
        """What is needed of a decision until its shadows have spoken; None when neither version is due."""
        new_due = new is None and self.version in decision.shadows_due
        control_due = control is None and self.control in decision.shadows_due
        if not (new_due or control_due):
            return None
        return Wait(
            decision.unit,
            decision.at_s,
            math.floor(decision.at_s / self._block_s),
            decision.row,
            share,
            not decision.override,
            new,
            control,
            new_due,
            control_due,
        )

    def _wait(self, request_id: str, wait: Wait, *, is_fresh: bool) -> None:
        if self._blocks is None or self._blocks.expect(wait.at_s, is_first_time=is_fresh):
            for given_up in self._waits.put(request_id, wait):
                self._miss(given_up, is_fresh=is_fresh)

    def _miss(self, wait: Wait, *, is_fresh: bool = True) -> None:
        """A shadow that never came. NB: where the other version was not to score there never was a pair."""
        if self._blocks is not None and (wait.new_due or wait.new) and (wait.control_due or wait.control):
            self._blocks.miss(wait.at_s, is_first_time=is_fresh)

    def _take_late(self, late: ShadowScored, batch: _Batch, *, is_fresh: bool) -> None:
        """A shadow of a request that waits for it; any other one has spoken before, or comes after its block."""
        wait = self._waits.get(late.request_id)
        if wait is None:
            return
        said = said_late(late)
        if late.version == self.version and wait.new_due:
            wait.new, wait.new_due = said, False
            wait.in_streak = said.kind if wait.control_due and is_late_case(wait, said) else UNASKED
            if is_fresh and wait.is_drawn:
                batch.rows.append(self._tally.row_of_late_new(wait, said))
        elif late.version == self.control and wait.control_due:
            wait.control, wait.control_due = said, False
            if is_fresh and wait.is_drawn:
                batch.rows.append(self._tally.row_of_late_control(wait, said))
        if not (wait.new_due or wait.control_due):
            self._waits.done(late.request_id)
            about = (wait.unit, wait.at_s, late.request_id)
            self._pair(about, wait.new, wait.control, batch.pairs if wait.is_drawn else None, is_fresh=is_fresh)

    def _pair(
        self,
        about: tuple[str, float, str],
        new: Said | None,
        control: Said | None,
        pairs: list[tuple[Said, Said]] | None,
        *,
        is_fresh: bool,
    ) -> None:
        """A request of which both versions have spoken, if they have; missing where one of the two was not asked. `about`: unit,
        instant, request id."""
        unit, at_s, request_id = about
        if new is None or control is None or (new.kind is UNASKED and control.kind is UNASKED):
            return
        if new.kind is UNASKED or control.kind is UNASKED:
            if self._blocks is not None:
                self._blocks.miss(at_s, is_first_time=is_fresh)
            return
        if self._blocks is not None:
            self._blocks.put(unit, at_s, new.score, control.score, request_id, is_first_time=is_fresh)
        if is_fresh and pairs is not None:
            pairs.append((new, control))

    def _count(
        self,
        decision: DecisionMade,
        share: float,
        owners: tuple[bool, bool],
        kinds: tuple[Kind, Kind],
        batch: _Batch,
    ) -> None:
        """Of this step: decisions for the version's units, units seen in either arm, and what either was not asked."""
        batch.seen += 1
        batch.own += owners[0]
        state = batch.state
        is_of_step = share == state.share and decision.at_s >= (state.step_clock_s or -math.inf)
        if decision.override or not is_of_step or not (owners[0] or owners[1]):
            return
        batch.step += owners[0]
        arm = 0 if owners[0] else 1
        batch.unasked[2 * arm] += kinds[arm] is UNASKED
        batch.unasked[2 * arm + 1] += 1
        unit = hash(decision.unit)
        # Each unit once; only where the route that was followed is known.
        is_known = decision.route_offset in state.routes
        if is_known and unit not in self._units and len(self._units) < UNITS_KEPT:
            self._units.add(unit)
            batch.units[arm] += 1

    # what it holds

    @property
    def folded(self) -> Mapping[str, int]:
        """Per `topic/partition` the next decision that the guardrails have not seen."""
        return self._folded

    @property
    def due_from_s(self) -> float | None:
        """Where the oldest block begins that a shadow is due in."""
        due = self._waits.oldest_block
        return None if due is None else due * self._block_s

    @property
    def shadows_due_bytes(self) -> int:
        """What all requests cost whose shadows are due."""
        return len(self._waits) * WAIT_BYTES

    @property
    def units_bytes(self) -> int:
        """What the units of the step cost."""
        return len(self._units) * UNIT_BYTES


def _four(counts: list[int]) -> tuple[int, int, int, int]:
    return counts[0], counts[1], counts[2], counts[3]
