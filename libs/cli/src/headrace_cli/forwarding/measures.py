"""What the health record and the metrics say of one receiver.

NB: the lag is a metric of its own and not in `Health.lag`: a receiver may be away for minutes, and the process that waits for it
does its work (`ReceiverAway` is about that, not `ConsumerLag`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace.hosting import catalogue as of
from headrace.hosting.health import Health
from headrace.hosting.lag import lag_of
from headrace.log.port import Log, Member, Record

RECEIVER = "receiver:"
_LAG_EVERY_S = 1.0


def is_away(health: Health, receiver: str) -> bool:
    """Whether a receiver has taken nothing for so long that it is reported."""
    return f"{RECEIVER}{receiver}" in health.failures


@dataclass
class Measures:
    """The figures of one receiver. `receiver`: its name. `_lag_s`: when the lag was last measured, monotonic."""

    health: Health
    clock: Clock
    receiver: str
    _lag_s: float = field(default=float("-inf"))

    def __post_init__(self) -> None:
        for counter in (of.FORWARDED, of.NOT_TAKEN, of.LEFT_OUT):
            self.health.measured.count(counter, self.receiver, times=0)

    def on_answer(self) -> None:
        """The receiver takes or refuses what it is sent, so it is not away."""
        self.health.clear(f"{RECEIVER}{self.receiver}")

    def on_taken(self, alerts: int) -> None:
        """So many alerts were taken, in one call."""
        self.health.measured.count(of.FORWARDED, self.receiver, times=alerts)
        self.health.measured.put(of.TAKEN_AT, self.receiver, value=self.clock.now_s())

    def on_failure(self, reason: str, *, is_long: bool) -> None:
        """A call was not taken. `is_long`: for so long that the receiver is reported."""
        self.health.measured.count(of.NOT_TAKEN, self.receiver)
        if is_long:
            self.health.fail(f"{RECEIVER}{self.receiver}", reason)

    def on_refusal(self) -> None:
        """One alert was refused, and is left out."""
        self.health.measured.count(of.LEFT_OUT, self.receiver)

    async def on_read(self, log: Log, member: Member, waiting: Sequence[Record]) -> None:
        """Measure the lag; once a second is enough where nothing waits. `waiting`: records that were read and are not delivered yet."""
        now_s = self.clock.monotonic_s()
        if not member.assignment() or (not waiting and now_s - self._lag_s < _LAG_EVERY_S):
            return
        self._lag_s = now_s
        behind = await lag_of(log, member, member.assignment(), waiting)
        self.health.measured.put(of.NOT_FORWARDED, self.receiver, value=sum(behind.values()))
