"""Every service is killed in turn while real flights play. Nothing is lost or duplicated, and features are equal to the bit."""

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from headrace.events.inference import DecisionMade

if TYPE_CHECKING:
    from conftest import Installation

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(400)]

SERVICES = ("inference", "feature", "pipeline", "monitor", "registry", "gateway", "trainer")


async def test_every_service_is_killed_and_nothing_is_lost_or_repeated(installation: "Installation") -> None:
    installation.run("apply", "flights")
    player = installation.play("2013-01-15")
    for service in SERVICES:
        await installation.grown("inference.decisions", by=10)
        installation.kill(service)
    assert player.wait(240) == 0
    deadline = time.monotonic() + 60
    while True:
        requests, decisions, windows = await installation.read(
            "inference.requests", "inference.decisions", "monitor.windows"
        )
        decided = Counter(m.event.request_id for m in decisions if isinstance(m.event, DecisionMade))
        if {message.envelope.id for message in requests} <= decided.keys() or time.monotonic() > deadline:
            break
    assert {message.envelope.id for message in requests} == decided.keys()
    assert set(decided.values()) == {1}
    measured = [message.event for message in windows if message.event.parity_rows]
    assert len(measured) >= 10
    assert {window.parity_tiles for window in measured} == {1.0}
