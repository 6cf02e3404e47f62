"""Windows whose labels come late are estimated once when they are full, whatever is restarted or declared."""

import random

from tests.cases.monitor_alone import DAY, DECISIONS, OUTCOMES, Monitor, compiled, one

from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import MonitorState, WindowClosed, WindowEstimated
from headrace.project import Binary

HOURS = 3600.0


def fields() -> dict:
    return {"label": Binary("y", horizon="2d")}


async def days(monitor: Monitor, name: str, count: int, since: int = 0, delay_s: float = 30 * HOURS) -> None:
    """Days of requests, every ten minutes, whose labels come a day and six hours later."""
    rng = random.Random(since)
    due: list[tuple[float, str, float]] = []
    for n in range(since * 144, (since + count) * 144):
        at_s, score = n * 600.0, rng.random()
        while due and due[0][0] <= at_s:
            known_s, unit, label = due.pop(0)
            await monitor.read(monitor.message(OUTCOMES, OutcomeObserved(name, unit, label), known_s))
        due.append((at_s + delay_s, f"u{n}", float(rng.random() < score)))
        answer = Served(Score(1, "m", score))
        await monitor.read(monitor.message(DECISIONS, DecisionMade(f"r{n}", name, f"u{n}", at_s, answer, n), at_s))
        if n % 36 == 0:
            await monitor.tick()


async def test_a_window_is_estimated_once_when_it_is_full_and_shows_the_truth_when_it_closes() -> None:
    monitor = Monitor(compiled(one("slow", **fields())))
    await monitor.start()
    await days(monitor, "slow", 18)
    estimated = [e for e in monitor.events if isinstance(e, WindowEstimated)]
    closed = {e.from_s: e for e in monitor.events if isinstance(e, WindowClosed)}
    assert [e.from_s / DAY for e in estimated] == list(range(17))
    assert estimated[0].unestimated.startswith("version 1 has 0 labelled rows in 0 closed windows: 500 in 5")
    known = [e for e in estimated if e.estimates and e.from_s in closed]
    assert known
    for event in known:
        assert closed[event.from_s].verdict == "PASS"
        for before, after in zip(event.estimates, closed[event.from_s].estimates, strict=True):
            assert (before.metric, before.value, before.realised) == (after.metric, after.value, None)
            assert after.realised is not None


async def test_a_restart_does_not_estimate_again() -> None:
    monitor = Monitor(compiled(one("slow", **fields())))
    await monitor.start()
    await days(monitor, "slow", 3)
    memory = [e for e in monitor.events if isinstance(e, MonitorState)][-1]
    again = Monitor(compiled(one("slow", **fields())))
    await again.shard.on_history(again.message("monitor.state.v1", memory, 0.0))
    await again.start()
    await days(again, "slow", 4)
    assert [e.from_s / DAY for e in again.events if isinstance(e, WindowEstimated)] == [2.0]


async def test_without_a_label_and_with_labels_at_once_nothing_is_estimated() -> None:
    monitor = Monitor(compiled(one("bare", label=None), one("quick", label=Binary("y", horizon="1h"))))
    await monitor.start()
    await days(monitor, "bare", 3)
    await monitor.live("quick", days=4)
    assert [e for e in monitor.events if isinstance(e, WindowEstimated)] == []
    assert {e.unmeasured for e in monitor.windows("bare")} == {"no label is declared"}
