"""Time as an argument: shells read a clock, cores get `now_s`."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch (`now_s`) and seconds of a clock that never jumps (`monotonic_s`)."""

    def now_s(self) -> float:
        """Seconds since the epoch. It may jump when the clock is set. Never blocks."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary moment. It never jumps. Never blocks."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only by calls such as `clock.advance(30)`."""

    def __init__(self, now_s: float = 1_364_774_400.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        """Seconds since the epoch, as set."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Seconds that have been advanced."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now_s += seconds
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP would; the monotonic clock does not change."""
        self._now_s += seconds
