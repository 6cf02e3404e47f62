"""A monitor's shard that is fed decisions and outcomes from memory, in a process of its own, whose memory is measured."""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil

from headrace.clock import ManualClock
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import WindowClosed
from headrace.events.references import ColumnReference, VersionReference
from headrace.events.registry import AliasMoved, ColumnPin, Signature
from headrace.hosting.health import Health
from headrace.log.codec import Message, type_name
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.stats.bins import edges_of
from headrace.stats.sketches import sketch_of
from headrace.testing.registry import version_of
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.adapters.spill import Spill
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

DAY = 86_400.0
DAYS, COLUMNS = 60, 4
BATCH, PARTITIONS, KINDS = 1000, 4, 997
# Requests after the end, when all labels are due: by them the clock comes so far.
LAST = 1000
DECISIONS, OUTCOMES, FACTS = "inference.decisions", "inference.outcomes", "registry.facts"
WINDOW = type_name(WindowClosed).encode()


class Fed:
    """The shard of one deployment whose labels come after .98 of a horizon in days. `decisions`: how many, over 60 days."""

    def __init__(self, horizon_days: int, decisions: int) -> None:
        topics, label = Topics.load(), Binary("y", horizon=f"{horizon_days}d")
        inputs = [Number(f"x{n}") for n in range(COLUMNS)]
        project = compile_project(Project("p", [Deployment("d", "u", inputs, label=label)]))
        self.topics = {noun: topics.name(noun) for noun in (DECISIONS, OUTCOMES, FACTS)}
        self.decisions, self.step_s = decisions, DAY * DAYS / decisions
        self.age = round(0.98 * horizon_days * DAY / self.step_s)
        self._end_s = (DAYS + horizon_days + 2) * DAY
        self.clock, self.spill = ManualClock(3 * DAY * DAYS), Spill()
        outside = Outside(self._behind, reread=self._reread, keep=self.spill.keep)
        self.shard = MonitorShard(topics, [project], self.clock, Liveness(), outside, Health("monitor", "m"))
        matrix = np.random.default_rng(1).normal(size=(KINDS, COLUMNS)).astype(np.float32)
        self._rows, self._reference = [row.tobytes() for row in matrix], reference(matrix)
        self.figures = dict.fromkeys(("windows", "labelled", "held", "spilled"), 0)

    async def start(self) -> None:
        """Start with a version that is champion."""
        pins = tuple(ColumnPin(f"x{n}") for n in range(COLUMNS))
        registered = version_of(1, model_digest="m", signature=Signature(pins, "s"), reference=self._reference)
        champion = AliasMoved("d", "champion", 1, None, "bench")
        await self.shard.on_start({})
        await self.shard.on_batch([self._message(FACTS, n, 0.0, one) for n, one in enumerate((registered, champion))])

    async def feed(self) -> None:
        """Feed all decisions and their outcomes, in the order of event time."""
        for begin in range(0, self.decisions + self.age, BATCH):
            batch: list[Message] = []
            for n in range(begin, min(begin + BATCH, self.decisions + self.age)):
                if n < self.decisions:
                    batch.append(self._made(n))
                if n >= self.age:
                    known = n - self.age
                    event = OutcomeObserved("d", f"u{known}", float(known % 3 == 0))
                    batch.append(self._message(OUTCOMES, known, n * self.step_s, event))
            await self._read(batch)
        await self._read([self._made(n) for n in range(self.decisions, self.decisions + LAST)])

    async def _read(self, batch: Sequence[Message]) -> None:
        self._take((await self.shard.on_batch(batch)).outs)
        self.clock.advance(3.0)
        self._take((await self.shard.on_tick()).outs)

    def _take(self, outs: Sequence[Out]) -> None:
        for out in outs:
            if dict(out.headers).get("ce_type") == WINDOW and out.value is not None:
                self.figures["windows"] += 1
                self.figures["labelled"] += msgspec.msgpack.decode(out.value, type=WindowClosed).labelled
        held = self.shard.core.holds()
        self.figures["held"] = max(self.figures["held"], held["windows"][0] + held["labels"][0])
        self.figures["spilled"] = max(self.figures["spilled"], self.spill.held_bytes)

    def _message(self, noun: str, n: int, at_s: float, event: msgspec.Struct) -> Message:
        place, offset = n % PARTITIONS, n // PARTITIONS
        record = Record(self.topics[noun], place, offset, b"k", None, (), int(self.clock.now_s() * 1000))
        return Message(record, Envelope(f"{noun}{n}", "", "bench", at_s), event)

    def _made(self, n: int) -> Message:
        decision = self._decision(n)
        return self._message(DECISIONS, n, decision.at_s, decision)

    def _decision(self, n: int) -> DecisionMade:
        answer, at_s = Served(Score(1, "m", n % KINDS / KINDS)), n * self.step_s if n < self.decisions else self._end_s
        return DecisionMade(f"r{n}", "d", f"u{n}", at_s, answer, n, self._rows[n % KINDS], "s")

    async def _behind(self) -> Mapping[TopicPartition, int]:
        return {TopicPartition(self.topics[n], place): 0 for n in (DECISIONS, OUTCOMES) for place in range(PARTITIONS)}

    async def _reread(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        return [self._decision(n * PARTITIONS + tp.partition) for tp, offsets in wanted.items() for n in offsets]


def reference(matrix: np.ndarray) -> VersionReference:
    """What training rows of this shape looked like."""
    columns = tuple(
        ColumnReference(
            f"x{n}", "number", (0.1,) * 10, edges_of(values), low=-5, high=5, tail=0.4, sketch=sketch_of(values)
        )
        for n, values in enumerate(matrix.T)
    )  # fmt: skip
    return VersionReference(len(matrix), -DAY, 0.0, DAY, float(len(matrix)), columns)


def peak_bytes() -> int:
    """The most resident memory so far. NB: not `ru_maxrss`, in which a process begins with what its parent had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


async def measured(horizon_days: int, decisions: int) -> dict[str, float]:
    """The figures of this process."""
    fed = Fed(horizon_days, decisions)
    await fed.start()
    ready, begun = psutil.Process().memory_info().rss, time.process_time()
    await fed.feed()
    peak = peak_bytes()
    return {
        "peak_mib": peak / 2**20,
        "grown_mib": (peak - ready) / 2**20,
        "held_mib": fed.figures["held"] / 2**20,
        "spilled_mib": fed.figures["spilled"] / 2**20,
        "windows": fed.figures["windows"],
        "labelled": fed.figures["labelled"],
        "cpu_s": time.process_time() - begun,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--decisions", type=int, required=True)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(measured(asked.horizon, asked.decisions))))
