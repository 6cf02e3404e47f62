"""What a call is compared by: the time of a core that it used, and not how long it was waited for."""

import time

from headrace.events.failures import NoTime
from headrace_inference.adapters.model_calls import _timed


def test_waiting_is_not_counted_and_working_is() -> None:
    def waits() -> NoTime:
        time.sleep(0.05)
        return NoTime("x")

    def works() -> NoTime:
        until_s = time.thread_time() + 0.05
        while time.thread_time() < until_s:
            pass
        return NoTime("x")

    given, waited_s = _timed(waits)
    assert given == NoTime("x")
    assert waited_s < 0.02
    assert 0.05 <= _timed(works)[1] < 0.2
