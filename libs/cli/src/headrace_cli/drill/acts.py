"""The acts: which fault each causes, for how long, and which conditions must hold.

Each act sends good requests before, during and after the fault. The fault comes from outside, or from inputs that the champion cannot
handle. An act is over when the champion answers again by itself.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from headrace.events.inference import Answer, DecisionMade, FellBack, Refused
from headrace.hosting.alerts import is_watchdog
from headrace_cli.drill.load import Inputs, Load, Pulses, is_champion, step_of
from headrace_cli.installation.local import Local
from headrace_cli.session import Session

GOOD_S = 1.5
# NB: ten times the time that an idle machine needs.
RECOVERS_WITHIN_S = 300.0
PER_S = 50.0
_STEADY = 20
_DECIDED_WITHIN_S = 120.0
_MOST_REASONS = 5
# NB: one process sends the requests; at a higher rate it would be late itself.
_BURST, _MOST_PER_S = 1000, 3000.0
_LONGEST_REASON = 120


@dataclass(frozen=True)
class Scene:
    """The installation of an act. `champion`: the version that answers without faults; `heavy`: makes the heavy model champion
    and returns its version."""

    session: Session
    local: Local
    pulses: Pulses
    champion: int
    heavy: Callable[[], Awaitable[int]]
    seconds: float


@dataclass(frozen=True)
class Act:
    """A fault. `play` causes it and returns when it has ended; `needs_heavy`: it needs the heavy model."""

    name: str
    about: str
    play: Callable[[Scene, Load], Awaitable[None]]
    needs_heavy: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of an act. `answers`: how many by which step; `alerts`: those that fired; `faults`: the conditions that failed."""

    act: str
    about: str
    asked: int
    answers: dict[str, int]
    worst_s: float
    recovered_s: float | None
    reasons: dict[str, int]
    alerts: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether all conditions held."""
        return not self.faults


def good(number: int) -> Inputs:
    """Inputs that every version can score. No two are equal, because a breaker ignores a row that fails again."""
    return {"code": float(number % 4), "level": 0.0, "depth": 0.5, "size": (number % 99_991) * 6 / 99_991 - 3.0}


def bad_by(**changes: Any) -> Callable[[int], Inputs]:
    """Good inputs, except for some values."""
    return lambda number: {**good(number), **changes}


async def _raises(scene: Scene, load: Load) -> None:
    load.inputs = bad_by(code=99.0)
    await asyncio.sleep(scene.seconds)
    load.inputs = good


async def _returns_nan(scene: Scene, load: Load) -> None:
    load.inputs = bad_by(level=1.0)
    await asyncio.sleep(scene.seconds)
    load.inputs = good


async def _hangs(scene: Scene, load: Load) -> None:
    """About 2 s for each row of the burst in one call that cannot be stopped; two partitions share the burst."""
    load.inputs = bad_by(depth=None)
    load.burst(round(scene.seconds * 5.5))
    await asyncio.sleep(0.2)
    load.inputs = good
    await asyncio.sleep(scene.seconds)


async def _features_stop(scene: Scene, load: Load) -> None:
    scene.pulses.is_sending = False
    await _kept_down(scene, ("feature",), 3.0 + scene.seconds)
    scene.pulses.is_sending = True


async def _control_plane_stops(scene: Scene, load: Load) -> None:
    await _kept_down(scene, ("registry", "monitor"), scene.seconds)


async def _load_doubles(scene: Scene, load: Load) -> None:
    """Measure the capacity by the duration of a burst. Then send twice as much, and more until load is shed."""
    load.per_s = 0.0
    began_s, before = time.monotonic(), len(load.answers_since(0.0))
    load.burst(_BURST)
    while len(load.answers_since(0.0)) < before + _BURST:
        await asyncio.sleep(0.01)
    load.per_s = min(_MOST_PER_S, 2.0 * _BURST / (time.monotonic() - began_s))
    until_s = time.monotonic() + scene.seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(1.0)
        if not any(isinstance(answer, Refused) for answer in load.answers_since(0.0)):
            load.per_s = min(_MOST_PER_S, 1.5 * load.per_s)
    load.per_s = PER_S


ACTS = (
    Act("raises", "the champion raises on every request", _raises),
    Act("nan", "the champion answers NaN", _returns_nan),
    Act("hangs", "one call of the champion hangs", _hangs),
    Act("features", "sources stop and the feature service is down", _features_stop),
    Act("control", "registry and monitor are down", _control_plane_stops),
    Act("load", "the load is twice the capacity", _load_doubles, needs_heavy=True),
)


async def _kept_down(scene: Scene, services: Sequence[str], seconds: float) -> None:
    """Kill services, and again whenever the supervisor has restarted them, for `seconds`."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        state = scene.local.state() or {"services": {}}
        for name in services:
            pid = state["services"].get(name, {}).get("pid")
            if pid:
                with suppress(psutil.Error):
                    psutil.Process(pid).kill()
        await asyncio.sleep(0.1)


async def perform(act: Act, scene: Scene) -> Outcome:
    """Run an act under load, and judge it by the answers received and by the log."""
    champion = await scene.heavy() if act.needs_heavy else scene.champion
    load, stop = Load(scene.session, good, PER_S), asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    try:
        await _until_well(load, champion, 0.0)
        await asyncio.sleep(GOOD_S)
        began_s = time.time()
        await act.play(scene, load)
        ended_s = time.time()
        recovered_s = await _until_well(load, champion, ended_s)
    finally:
        stop.set()
        await running
    decisions = await _decisions(scene.session, {asked.request_id for asked in load.asked})
    alerts = await _alerts(scene.session, began_s)
    return _judged(act, load, decisions, recovered_s, began_s, alerts)


async def _until_well(load: Load, champion: int, since_s: float) -> float | None:
    """Seconds from `since_s` until the champion answered twenty requests in a row; None if it did not within the limit."""
    began_s = time.time()
    while time.time() - began_s < RECOVERS_WITHIN_S:
        newest = load.answers_since(since_s)[-_STEADY:]
        if len(newest) == _STEADY and all(is_champion(answer, champion) for answer in newest):
            return time.time() - began_s
        await asyncio.sleep(0.05)
    return None


async def _decisions(session: Session, ids: set[str]) -> dict[str, list[DecisionMade]]:
    """The committed decisions on these requests; waits until there is one for each."""
    give_up_s = time.monotonic() + _DECIDED_WITHIN_S
    while True:
        found: dict[str, list[DecisionMade]] = {}
        for message in await session.all_of("inference.decisions"):
            if isinstance(message.event, DecisionMade) and message.event.request_id in ids:
                found.setdefault(message.event.request_id, []).append(message.event)
        if len(found) == len(ids) or time.monotonic() > give_up_s:
            return found
        await asyncio.sleep(0.5)


async def _alerts(session: Session, since_s: float) -> tuple[str, ...]:
    """Names of the alerts that fired since an instant."""
    fired = [m.event for m in await session.all_of("alerts") if m.record.timestamp_ms >= since_s * 1000]
    real = [alert for alert in fired if alert and alert.status == "firing" and not is_watchdog(alert)]
    return tuple(sorted({alert.labels["alertname"] for alert in real}))


def _judged(
    act: Act,
    load: Load,
    decisions: dict[str, list[DecisionMade]],
    recovered_s: float | None,
    began_s: float,
    alerts: tuple[str, ...],
) -> Outcome:
    answers = Counter(step_of(asked.answer) for asked in load.asked)
    during = [d for asked in load.asked if asked.at_s >= began_s for d in decisions.get(asked.request_id, [])]
    faults = [*_faults_of(load, decisions), *([] if during else ["no request was sent during the fault"])]
    if recovered_s is None:
        faults.append(f"the champion did not answer again within {RECOVERS_WITHIN_S:.0f} s")
    degraded = Counter(step_of(d.answer) for d in during) - Counter({"served": len(during)})
    if act.name != "control" and not degraded and not any(d.failures for d in during):
        faults.append("the fault had no effect: the act proves nothing")
    if act.name == "control" and degraded:
        faults.append(f"requests were degraded although only the control plane was down: {dict(degraded)}")
    return Outcome(
        act.name,
        act.about,
        len(load.asked),
        dict(sorted(answers.items())),
        max((asked.took_s for asked in load.asked), default=0.0),
        recovered_s,
        _reasons([reason for d in during if (reason := reason_of(d.answer))]),
        alerts,
        tuple(faults),
    )


def _faults_of(load: Load, decisions: dict[str, list[DecisionMade]]) -> list[str]:
    """The conditions of every act: an answer in time, one decision each, equal to the answer, and a reason for every degraded answer."""
    made = [decisions.get(asked.request_id, []) for asked in load.asked]
    answered = [(asked.answer, found[0].answer) for asked, found in zip(load.asked, made, strict=True) if found]
    counted = {
        "were not answered within their deadline": sum(asked.answer is None for asked in load.asked),
        "expired": sum(step_of(asked.answer) == "expired" for asked in load.asked),
        "have no decision": sum(not found for found in made),
        "have more than one decision": sum(len(found) > 1 for found in made),
        "have a decision that differs from the answer": sum(
            answer is not None and answer != decided for answer, decided in answered
        ),
        "were degraded without a reason": sum(
            isinstance(decided, FellBack | Refused) and not reason_of(decided) for _, decided in answered
        ),
    }
    return [f"{count} requests {what}" for what, count in counted.items() if count]


def reason_of(answer: Answer | None) -> str:
    """Why an answer is degraded; "" if it is not."""
    return getattr(answer, "reason", "")


def _reasons(reasons: Sequence[str]) -> dict[str, int]:
    """How often each kind of reason was given, by its first wording. Reasons of a kind differ only in their figures."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(re.sub(r"[0-9.]+", "0", reason), []).append(reason)
    most = sorted(kinds.values(), key=len, reverse=True)[:_MOST_REASONS]
    return {found[0][:_LONGEST_REASON]: len(found) for found in most}
