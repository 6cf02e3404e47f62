"""Half an hour of steady load whose labels arrive one event day late. No service grows, and no state passes its bound."""

import asyncio
import os
import random
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from headrace.events.inference import DecisionMade, OutcomeObserved, PredictionRequested
from headrace.events.ops import HealthReported
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope

if TYPE_CHECKING:
    from conftest import Installation

MINUTES = float(os.environ.get("HEADRACE_SOAK_MINUTES", "30"))
pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(int(MINUTES * 60) * 3 + 600)]

PER_S = 200
DAY_S = 86_400.0
# Five minutes of the wall clock are a day of event time: by the twentieth minute windows close as fast as they open.
SPEED = DAY_S / 300.0
FROM_S = 1_364_774_400.0

PROJECT = """
import msgspec
from headrace.project import Binary, Count, Deployment, FeatureView, Key, Mean, Number, PageHinkley, Project, Source, prior

class Pulse(msgspec.Struct):
    machine: str
    load: float
    at: float

pulses = Source("pulses", event=Pulse, event_time="at", key="machine")
pulse = FeatureView("pulse", source=pulses, entity="machine", features={"load_3h": Mean("load", "3h"), "count_1h": Count("1h")})
soak = Deployment("soak", unit="job", inputs=[Number("size", 0, 1), Key("machine")], features=[pulse.by("machine")],
    feature_delay="15m", label=Binary("fails", horizon="36h"), monitoring=[PageHinkley("log_loss")], fallback=[prior(0.3)])
project = Project("soak", [soak], sources=[pulses], views=[pulse])
"""


class Pulse(msgspec.Struct):
    """A pulse of a machine."""

    machine: str
    load: float
    at: float


async def load(installation: "Installation", seconds: float) -> int:
    """Send requests, pulses and the outcomes of the day before at a steady rate. Returns how many requests were sent."""
    topics = topics_of(Settings())
    rng = random.Random(7)
    waiting: deque[tuple[float, str]] = deque()
    sent, began_s = 0, time.monotonic()
    async with installation.log() as log:
        producer = await log.producer()
        while (passed_s := time.monotonic() - began_s) < seconds:
            outs, now_s = [], FROM_S + passed_s * SPEED
            for number in range(sent, int(passed_s * PER_S)):
                unit, machine = f"job-{number}", f"machine-{number % 20}"
                request = PredictionRequested("soak", {"size": rng.random(), "machine": machine})
                outs.append(out(topics.name("inference.requests"), unit, request, Envelope(unit, "", "soak", now_s)))
                waiting.append((now_s + DAY_S, unit))
                if number % 4 == 0:
                    event = Pulse(machine, rng.random(), now_s)
                    pulse = out(topics.of_source("pulses"), machine, event, Envelope(f"p-{number}", "", "soak", now_s))
                    outs.append(pulse)
                sent += 1
            while waiting and waiting[0][0] <= now_s:
                known_s, unit = waiting.popleft()
                label = OutcomeObserved("soak", unit, float(rng.random() < 0.3))
                outs.append(
                    out(topics.name("inference.outcomes"), unit, label, Envelope(f"o-{unit}", "", "soak", known_s))
                )
            await producer.send(outs)
            await asyncio.sleep(0.1)
        await producer.close()
    return sent


def resident(installation: "Installation") -> dict[str, int]:
    """Bytes in memory per service, of its present processes."""
    found = {name: child["pid"] for name, child in installation.state["services"].items()}
    return {name: psutil.Process(pid).memory_info().rss for name, pid in found.items()}


async def test_memory_stands_still_and_no_state_passes_its_bound(installation: "Installation", tmp_path: Path) -> None:
    (tmp_path / "soak_project.py").write_text(PROJECT)
    installation.run("apply", str(tmp_path / "soak_project.py"))
    pids = {name: installation.pid(name) for name in installation.state["services"]}
    loading = asyncio.create_task(load(installation, MINUTES * 60))
    await asyncio.sleep(MINUTES * 40)  # two thirds of the time: windows have closed by then
    before = resident(installation)
    sent = await loading
    after = resident(installation)
    print({name: (before[name] // 2**20, after[name] // 2**20) for name in after})
    assert {name: installation.pid(name) for name in installation.state["services"]} == pids
    (health,) = await installation.read("ops.health")
    reports = [message.event for message in health if isinstance(message.event, HealthReported)]
    over = {
        (report.service, state): used_bytes
        for report in reports
        for state, used_bytes in report.state_bytes.items()
        if used_bytes > report.state_limits[state]
    }
    assert over == {}
    assert {name: after[name] / before[name] for name in after if after[name] > before[name] * 1.1} == {}
    deadline = time.monotonic() + 120
    while True:
        (decisions,) = await installation.read("inference.decisions")
        decided = Counter(m.event.request_id for m in decisions if isinstance(m.event, DecisionMade))
        if len(decided) >= sent or time.monotonic() > deadline:
            break
    assert (len(decided), set(decided.values())) == (sent, {1})
