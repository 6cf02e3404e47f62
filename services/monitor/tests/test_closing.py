"""A window closes: its findings carry their evidence, on the log and in what is remembered."""

import msgspec
import numpy as np
from services.monitor.tests.explained_scene import DAY, Scene

from headrace.events.monitor import FindingOpened, MonitorState
from headrace_monitor.core.closing import close
from headrace_monitor.core.facts import WindowReported
from headrace_monitor.core.findings import Findings, findings_of, memory_of
from headrace_monitor.core.windows import Late


def closed(scene: Scene, findings: Findings, number: int) -> tuple[Findings, list[object]]:
    """A day of which the requests of cold hours get no label."""
    day = scene.day(600)
    day["label"][day["temp"] < 12] = np.nan
    step = close(findings, scene.seen(number, day).inputs, number * DAY, (number + 2) * DAY, Late())
    return step.state, list(step.facts)


def test_an_opened_finding_carries_its_evidence_once_on_the_log_and_in_the_memory() -> None:
    scene = Scene()
    findings, facts = findings_of(scene.deployment, None), list[object]()
    for number in range(5):
        findings, facts_now = closed(scene, findings, number)
        facts += facts_now
    (opened,) = (fact for fact in facts if isinstance(fact, FindingOpened))
    assert sum(isinstance(fact, WindowReported) for fact in facts) == 5
    assert opened.evidence is not None
    assert opened.evidence.segment is not None
    assert opened.evidence.segment.column == "temp"
    assert opened.evidence.segment.value.startswith("below ")
    assert opened.evidence.first_place.startswith("inference.decisions.v1/0/200")
    assert findings.open["labels"] == opened
    memory = memory_of(findings, {}, 5 * DAY)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=MonitorState)
    assert findings_of(scene.deployment, again).usual == findings.usual
    assert findings.usual is not None
    assert [begin.place for begin in findings.usual.begins] == [
        f"inference.decisions.v1/0/{n * 1_000}" for n in range(5)
    ]
    assert len(msgspec.msgpack.encode(memory)) < 4_000
