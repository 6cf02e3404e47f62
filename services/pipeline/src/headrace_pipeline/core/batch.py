"""What becomes of the records of a batch: outputs, dead letters, or a stop of their partition; and how far each partition is done.

A record on which the transform failed, or whose outputs break the contract, is dead-lettered alone. When that is one too many
(`PoisonLedger`) its partition stops at it, and nothing past it counts as done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import Poison
from headrace.log.dead_letters import dead_letter
from headrace.log.envelope import Origin
from headrace.log.poison import IN_A_ROW, PoisonLedger
from headrace.log.port import Out, Record
from headrace_pipeline.core.contract import Contract
from headrace_pipeline.core.handled import MOST_HELD_BYTES, Handled
from headrace_pipeline.core.lookback import Place, place_of

SERVICE = "pipeline"
# What a batch has become is written at the latest when its next message is handled after so long.
WRITE_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A partition stops: `offset` is the first that is not done."""

    offset: int
    reason: str


@dataclass(slots=True)
class Decided:
    """What a batch amounts to: records to send, the dead letters among them, records that are done then, and partitions that stop."""

    outs: list[Out] = field(default_factory=list)
    dead: list[tuple[Record, Poison]] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    stops: dict[Place, Stop] = field(default_factory=dict)

    @property
    def is_all_well(self) -> bool:
        """Whether every record passed."""
        return not self.dead and not self.stops


def decide_batch(
    records: Iterable[Record],
    handled: Iterable[Handled],
    ledger: PoisonLedger,
    contract: Contract,
    dlq: str,
    append_ms: int,
) -> Decided:
    """What becomes of the records that were handled; `handled` may be shorter than `records`.

    `ledger` counts good and bad records, in place. `dlq`: the full name of the topic of dead letters. `append_ms`: now.
    """
    decided = Decided()
    for record, found in zip(records, handled, strict=False):
        place = place_of(record)
        if place in decided.stops:
            continue
        try:
            outs = _outputs(record, found, contract, append_ms)
        except Poison as poison:
            if ledger.bad(place):
                reason = f"pipeline {contract.pipeline} cannot handle too many of its messages: {poison}"
                decided.stops[place] = Stop(record.offset, reason)
                continue
            decided.dead.append((record, poison))
            outs = [dead_letter(dlq, record, poison, SERVICE)]
        else:
            ledger.good(place)
        decided.outs += outs
        decided.done.append(record)
    return decided


def _outputs(record: Record, handled: Handled, contract: Contract, append_ms: int) -> list[Out]:
    """Raises `Poison` where the transform failed, or an output may not pass."""
    if handled.poison is not None:
        raise handled.poison
    cause = record.place
    return [
        written
        for index, yielded in enumerate(handled.yielded)
        for written in contract.write(
            yielded, Origin(record.topic, record.partition, record.offset, index), cause, append_ms
        )
    ]


def is_enough(handled: Sequence[Handled], took_s: float) -> bool:
    """Whether what was handled should be written before more of the batch is handled."""
    failed = sum(found.poison is not None for found in handled)
    held_bytes = sum(found.held_bytes for found in handled)
    return failed > IN_A_ROW or held_bytes > MOST_HELD_BYTES or took_s > WRITE_AFTER_S


Lies = Literal["to be handled", "past a stop", "skipped"]


def choose_way(record: Record, stopped_at: int | None, resumed_at: int) -> Lies:
    """Where a record lies: past its partition's stop, before the place where an operator let it go on, or to be handled.

    `stopped_at`: the first offset that is not done of a stopped partition, None when it runs. `resumed_at`: 0 when nobody resumed it.
    """
    if stopped_at is not None and record.offset >= stopped_at:
        return "past a stop"
    return "skipped" if record.offset < resumed_at else "to be handled"


def reached(records: Iterable[Record]) -> Mapping[Place, int]:
    """Per partition the highest offset of these."""
    found: dict[Place, int] = {}
    for record in records:
        place = place_of(record)
        found[place] = max(found.get(place, -1), record.offset)
    return found
