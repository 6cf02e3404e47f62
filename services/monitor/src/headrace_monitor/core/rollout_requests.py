"""Which requests count for a running rollout, and for what: the guardrails, the blocks of the labels, the numbers of the step.

Guardrails take each request once, in the order read (`folded`). Blocks take a request again that is read again after a restart.
Previews and overrides of tenants are in no arm, because no random draw put them there. Pairs for the labels are all requests
that both versions were asked.

A shadow may return its score after its decision was committed (`ShadowScored`; the first one per request and version counts).
It counts as if it had stood in the decision, if it comes before the block of the request closes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from msgspec.structs import replace

from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace_monitor.core.agreement import Agreement
from headrace_monitor.core.arms import (
    GOOD,
    PENDING_BYTES,
    UNASKED,
    Kind,
    PendingRequest,
    PendingRequests,
    Result,
    assigned,
    late_result_of,
    result_of,
)
from headrace_monitor.core.blocks import Blocks
from headrace_monitor.core.counted_once import PASSED_OVER
from headrace_monitor.core.guardrail_cases import GuardrailCases, Pair, Row, is_late_case

UNITS_KEPT = 100_000
UNIT_BYTES = 72
PENDING_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision, or one late score of it, as it was read. `place`, `offset`: where it lies (`topic/partition`)."""

    place: str
    offset: int
    event: DecisionMade | ShadowScored


@dataclass(slots=True)
class _Batch:
    """What one batch adds up to.

    `state`: of the rollout before the batch. `rows`, `pairs`: for the guardrails. `seen`, `own`, `step`: decisions of the
    deployment, of the version's units, and of them those of this step. `units`, `unasked`: see `RolloutJudged`.
    """

    state: RolloutJudged
    units: list[int]
    unasked: list[int]
    rows: list[Row] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    seen: int = 0
    own: int = 0
    step: int = 0

    def after(self) -> RolloutJudged:
        """The state of the rollout after the batch."""
        state = self.state
        return replace(
            state,
            step_decisions=state.step_decisions + self.step,
            decisions=state.decisions + self.own,
            step_units=(self.units[0], self.units[1]),
            step_seen=state.step_seen + self.seen,
            step_unasked=_four(self.unasked),
        )


class RolloutRequests:
    """The requests of one rollout.

    `blocks`: None where no label can judge the rollout. `block_s`: the length of a block of event time, for the shadows that are
    due. `agreement`: where no label can judge it. `folded`: per place the next decision that the guardrails have not seen.
    """

    def __init__(
        self,
        version: int,
        control: int | None,
        cases: GuardrailCases,
        blocks: Blocks | None,
        block_s: float,
        folded: Mapping[str, int],
        agreement: Agreement | None = None,
    ) -> None:
        self.version, self.control, self._agreement = version, control, agreement
        self._cases, self._blocks, self._block_s = cases, blocks, block_s
        self._pending = PendingRequests(PENDING_KEPT)
        self._folded = dict(folded)
        self._units: set[int] = set()

    def take(self, seen: Sequence[Seen], state: RolloutJudged) -> RolloutJudged:
        """Take records of the deployment in the order read, and return the state after them.

        Those that are read again after a restart count for open blocks only.
        """
        batch = _Batch(state, list(state.step_units), list(state.step_unasked))
        for one in seen:
            is_fresh = one.offset >= self._folded.get(one.place, 0)
            if is_fresh:
                self._folded[one.place] = one.offset + 1
            match one.event:
                case DecisionMade() as decision:
                    self._take_decision(decision, batch, is_fresh=is_fresh)
                case ShadowScored() as late:
                    self._take_late(late, batch, is_fresh=is_fresh)
                case _:
                    assert_never(one.event)
        self._cases.add(batch.rows, batch.pairs)
        return batch.after()

    def begin_step(self) -> None:
        """A step of the rollout began: units are counted anew."""
        self._units.clear()

    def end_blocks(self, before: int) -> None:
        """The blocks before this one are about to close: shadows that are due in them never came."""
        for pending in self._pending.pop_before(before):
            self._miss(pending)

    def _take_decision(self, decision: DecisionMade, batch: _Batch, *, is_fresh: bool) -> None:
        state = batch.state
        new = result_of(decision, self.version)
        control = result_of(decision, self.control) if self.control is not None else None
        share, is_drawn = state.routes.get(decision.route_offset, state.share), not decision.override
        block = math.floor(decision.at_s / self._block_s)
        owner = assigned(decision)
        is_pair = self._is_pair(decision, owner, new, control, is_fresh=is_fresh)
        is_asked = (
            is_pair
            or (new is not None and new.kind is not UNASKED)
            or (control is not None and control.kind is not UNASKED)
        )
        key = self._key(decision, block, is_fresh=is_fresh) if is_drawn and is_asked else PASSED_OVER
        pending = None
        if decision.shadows_due:
            pending = self._pending_of(decision, share, new, control, block, key if is_pair else PASSED_OVER)
        if pending is not None:
            self._await(decision.request_id, pending, is_fresh=is_fresh)
            is_case = new is not None and (owner == self.version or share <= 0)
            pending.in_streak = new.kind if new is not None and pending.control_due and is_case else UNASKED
        else:
            about = (decision.unit, decision.at_s, decision.request_id, decision.row)
            pairs = batch.pairs if is_drawn else None
            self._pair(about, new, control, pairs, key if is_pair else PASSED_OVER, is_fresh=is_fresh)
        if not is_fresh:
            return
        owners = (owner == self.version, self.control is not None and owner == self.control)
        kinds = (new.kind if new is not None else UNASKED, control.kind if control is not None else UNASKED)
        self._count(decision, share, owners, kinds, batch)
        if is_drawn:
            waits = pending is not None and pending.control_due
            batch.rows.append(self._cases.row(decision, share, owners, kinds, block, key, waits=waits))

    def _is_pair(
        self, decision: DecisionMade, owner: int | None, new: Result | None, control: Result | None, *, is_fresh: bool
    ) -> bool:
        """Whether a request is asked of both versions whatever either of them returns.

        Where shadows are shed the control is asked only after the version has failed: such a request is no pair.
        """
        due = decision.shadows_due
        is_due = bool(due) and self.control in due
        is_control = control.kind is not UNASKED if control is not None else is_due
        if owner == self.version and new is not None and not is_due:
            if new.kind is not GOOD:
                is_control = is_control and self._cases.scores_along
            elif is_fresh:
                self._cases.scores_along = is_control
        return is_control and (new.kind is not UNASKED if new is not None else self.version in due)

    def _key(self, decision: DecisionMade, block: int, *, is_fresh: bool) -> int:
        """The key of the unit, if this is the request with which it counts in the block; else `PASSED_OVER`.

        NB: this is decided before anything is returned late. What is returned first is more often a failure.
        """
        first = self._cases.first
        return (first.take if is_fresh else first.taken)(decision.unit, block, decision.request_id)

    def _pending_of(
        self,
        decision: DecisionMade,
        share: float,
        new: Result | None,
        control: Result | None,
        block: int,
        key: int,
    ) -> PendingRequest | None:
        """What is needed of a decision until its shadows have returned; None when neither version is due."""
        new_due = new is None and self.version in decision.shadows_due
        control_due = control is None and self.control in decision.shadows_due
        if not (new_due or control_due):
            return None
        return PendingRequest(
            decision.unit,
            decision.at_s,
            block,
            decision.row,
            share,
            not decision.override,
            new,
            control,
            new_due,
            control_due,
            key,
        )

    def _await(self, request_id: str, pending: PendingRequest, *, is_fresh: bool) -> None:
        if self._blocks is None or self._blocks.expect(pending.at_s, is_first_time=is_fresh):
            for given_up in self._pending.put(request_id, pending):
                self._miss(given_up, is_fresh=is_fresh)

    def _miss(self, pending: PendingRequest, *, is_fresh: bool = True) -> None:
        """A shadow never came. NB: where the other version was not to score, there never was a pair."""
        if self._blocks is not None and (pending.new_due or pending.new) and (pending.control_due or pending.control):
            self._blocks.miss(pending.at_s, is_first_time=is_fresh)

    def _take_late(self, late: ShadowScored, batch: _Batch, *, is_fresh: bool) -> None:
        """A late score counts for a request that waits for it. Any other one came twice, or after its block closed."""
        pending = self._pending.get(late.request_id)
        if pending is None:
            return
        result = late_result_of(late)
        if late.version == self.version and pending.new_due:
            pending.new, pending.new_due = result, False
            pending.in_streak = result.kind if pending.control_due and is_late_case(pending, result) else UNASKED
            if is_fresh and pending.is_drawn:
                batch.rows.append(self._cases.row_of_late_new(pending, result))
        elif late.version == self.control and pending.control_due:
            pending.control, pending.control_due = result, False
            if is_fresh and pending.new is not None and pending.new.kind is GOOD:
                self._cases.scores_along = result.kind is not UNASKED
            if is_fresh and pending.is_drawn:
                batch.rows.append(self._cases.row_of_late_control(pending, result))
        if not (pending.new_due or pending.control_due):
            self._pending.remove(late.request_id)
            about = (pending.unit, pending.at_s, late.request_id, pending.row)
            pairs = batch.pairs if pending.is_drawn else None
            self._pair(about, pending.new, pending.control, pairs, pending.key, is_fresh=is_fresh)

    def _pair(
        self,
        about: tuple[str, float, str, bytes],
        new: Result | None,
        control: Result | None,
        pairs: list[Pair] | None,
        key: int,
        *,
        is_fresh: bool,
    ) -> None:
        """A request for which both versions have returned something is a pair. Where one of them was not asked it is missing.

        `about`: unit, instant, request id, row. `pairs`: where the guardrails get theirs; None where the request is in no arm.
        `key`: of the unit, where the pair is a bet.
        """
        unit, at_s, request_id, row = about
        if new is None or control is None or (new.kind is UNASKED and control.kind is UNASKED):
            return
        if new.kind is UNASKED or control.kind is UNASKED:
            if self._blocks is not None:
                self._blocks.miss(at_s, is_first_time=is_fresh)
            return
        if self._blocks is not None:
            self._blocks.put(unit, at_s, new.score, control.score, request_id, is_first_time=is_fresh)
        if is_fresh and self._agreement is not None:
            self._agreement.add(new.score, control.score)
        if is_fresh and pairs is not None:
            pairs.append(self._cases.pair(key, row, new, control))

    def _count(
        self,
        decision: DecisionMade,
        share: float,
        owners: tuple[bool, bool],
        kinds: tuple[Kind, Kind],
        batch: _Batch,
    ) -> None:
        """Count, for this step, the decisions for the version's units, the units of either arm, and what either was not asked."""
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
        # Each unit counts once, and only where the route that was followed is known.
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
        """The beginning of the oldest block in which a shadow is due; None when none is."""
        due = self._pending.oldest_block
        return None if due is None else due * self._block_s

    @property
    def pending_bytes(self) -> int:
        """How many bytes the requests take whose shadows are due."""
        return len(self._pending) * PENDING_BYTES

    @property
    def units_bytes(self) -> int:
        """How many bytes the units of the step take."""
        return len(self._units) * UNIT_BYTES


def _four(counts: list[int]) -> tuple[int, int, int, int]:
    return counts[0], counts[1], counts[2], counts[3]
