"""Load on loopback: requests at a steady rate, and the result of each."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.asking.asker import Asker
from headrace.asking.pending import Question
from headrace.events.inference import Answer, FellBack, PredictionAnswered, PredictionRequested, Served
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace_cli.drill.project import MACHINES, Pulse
from headrace_cli.session import Session

DEADLINE_MS = 4000
_TICK_S = 0.02
Inputs = dict[str, Any]


@dataclass
class Asked:
    """One request: when it was sent, and the answer with its delay; `answer` is None if none came within the deadline."""

    request_id: str
    at_s: float
    answer: Answer | None = None
    took_s: float = 0.0


@dataclass
class Load:
    """Sends requests as long as it runs. `inputs`, `per_s`: what to send and at which rate; the act changes them."""

    session: Session
    inputs: Callable[[int], Inputs]
    per_s: float
    asked: list[Asked] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)
    _life: str = field(default_factory=lambda: secrets.token_hex(4))
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _asker: Asker | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; then until every request is answered or its deadline has passed."""
        session = self.session
        self._asker = Asker(session.log, session.codec, session.topics, session.clock, f"drill-{self._life}")
        await self._asker.start()
        hearing_ends = asyncio.Event()
        hearing = asyncio.create_task(self._asker.run(hearing_ends))
        try:
            await self._ask_until(stop)
            await asyncio.gather(*self._open)
        finally:
            hearing_ends.set()
            await hearing

    def burst(self, count: int) -> None:
        """Send `count` requests at once."""
        for _ in range(count):
            self._ask()

    def answers_since(self, at_s: float) -> list[Answer | None]:
        """The answers to requests sent since an instant, in the order of sending; open ones are left out."""
        return [found.answer for found in self.asked if found.at_s >= at_s and found.took_s > 0]

    async def _ask_until(self, stop: asyncio.Event) -> None:
        due = 0.0
        last_s = time.monotonic()
        while not stop.is_set():
            now_s = time.monotonic()
            due += (now_s - last_s) * self.per_s
            last_s = now_s
            self.burst(int(due))
            due -= int(due)
            await asyncio.sleep(_TICK_S)

    def _ask(self) -> None:
        number = next(self._numbers)
        inputs = {"machine": MACHINES[number % len(MACHINES)], **self.inputs(number)}
        ident = f"{self._life}-{number}"
        asked = Asked(ident, time.time())
        self.asked.append(asked)
        request = PredictionRequested("drill", inputs, f"job-{number}", DEADLINE_MS)
        task = asyncio.create_task(self._await(asked, Question(ident, request, asked.at_s)))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _await(self, asked: Asked, question: Question) -> None:
        began_s = time.monotonic()
        found: list[PredictionAnswered | None] = await self._asker.ask([question], DEADLINE_MS) if self._asker else []
        asked.took_s = time.monotonic() - began_s
        asked.answer = found[0].answer if found and found[0] else None


class Pulses:
    """Sends the pulses of the machines, twice a second each, while `is_sending`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._number = itertools.count()
        self.is_sending = True

    async def send(self, at_s: float) -> None:
        """Send one pulse of every machine, as of an instant."""
        topic = self._session.topics.of_source("pulses")
        outs = [
            out(
                topic,
                machine,
                Pulse(machine, 1.0, at_s),
                Envelope(f"pulse-{next(self._number)}-{at_s}", "", "drill", at_s),
            )
            for machine in MACHINES
        ]
        producer = await self._session.log.producer()
        try:
            await producer.send(outs)
        finally:
            await producer.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`."""
        while not stop.is_set():
            if self.is_sending:
                await self.send(time.time())
            await asyncio.sleep(0.5)


def is_champion(answer: Answer | None, version: int) -> bool:
    """Whether the champion itself answered."""
    return isinstance(answer, Served) and answer.score.version == version


def step_of(answer: Answer | None) -> str:
    """What answered: `served`, a step, `refused`, `expired`, `invalid`, or `none`."""
    match answer:
        case None:
            return "none"
        case FellBack(step=step):
            return step
        case _:
            return type(answer).__name__.lower()
