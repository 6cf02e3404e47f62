"""Feature workers are killed, frozen until others took over and then resumed, join and leave in mid-stream. The merged tiles
equal a batch recomputation of the log, to the bit.
"""

import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.plan import plan_view
from headrace.features.store import OnlineStore
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.port import Record, TopicPartition
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace_flights.project import project

if TYPE_CHECKING:
    from conftest import Installation

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(400)]

TOPICS = Topics.load()
PROJECT = compile_project(project)
CODEC = Codec(TOPICS, {TOPICS.of_source(source.name): event_struct(source) for source in PROJECT.sources})


async def test_killed_frozen_and_joining_feature_workers_leave_exact_tiles(installation: "Installation") -> None:
    installation.run("apply", "flights")
    player = installation.play("2013-01-20")
    second = installation.beside("headrace_feature", HEADRACE_INSTANCE="feature-second")
    # Every partition is written by the two workers, by the one that is left, by the one that took over, and again.
    await installation.grown("features.online", by=20)
    installation.kill("feature")
    await installation.grown("features.online", by=20)
    os.kill(second.pid, signal.SIGSTOP)
    await installation.grown("features.online", by=20)
    os.kill(second.pid, signal.SIGCONT)
    third = installation.beside("headrace_feature", HEADRACE_INSTANCE="feature-third")
    await installation.grown("features.online", by=20)
    third.send_signal(signal.SIGTERM)
    assert third.wait(20) == 0
    assert player.wait(240) == 0
    async with installation.log() as log:
        await _until_all_is_applied(log)
        compared = await _compare(log)
    if second.poll() is None:
        second.send_signal(signal.SIGTERM)
    second.wait(20)
    assert compared > 1000


async def _until_all_is_applied(log: KafkaLog) -> None:
    sources = [tp for s in PROJECT.sources for tp in await log.partitions(TOPICS.of_source(s.name))]
    ends = await log.end_offsets(sources)
    deadline = time.monotonic() + 60
    while True:
        reached = await log.committed(TOPICS.group("feature"), sources)
        behind: dict[TopicPartition, int] = {tp: end - reached.get(tp, 0) for tp, end in ends.items()}
        if not any(records > 0 for records in behind.values()):
            return
        assert time.monotonic() < deadline, behind


async def _compare(log: KafkaLog) -> int:
    """Check that all values are equal to the bit. Returns how many were compared."""
    store = OnlineStore()
    store.define([PROJECT])
    view = View(log, CODEC, [TOPICS.name("features.online")], store.apply)
    await view.start()
    await view.stop()
    compared = 0
    for source in PROJECT.sources:
        table = await _table(log, source.name)
        newest_s = float(table.available.max())
        for plan in [plan_view(PROJECT, v.name) for v in PROJECT.views if v.source == source.name]:
            codes, _ = table.codes(plan.view.entity)
            for entity in codes:
                at_s = newest_s - 3600.0 * np.arange(0, 20, 5)
                wanted = as_of(plan, table, [entity] * len(at_s), at_s, 900.0).values
                found = np.array([store.lookup(plan.view.key, entity, float(at), 900.0) for at in at_s])
                assert found.tobytes() == wanted.astype(found.dtype).tobytes(), (plan.view.name, entity)
                compared += found.size
    return compared


async def _table(log: KafkaLog, source: str) -> EventTable:
    table, topic = EventTable(PROJECT.source(source)), TOPICS.of_source(source)

    def take(record: Record) -> None:
        event, origin = CODEC.decode_event(record)
        table.take_event(event, origin, record.partition, record.offset, record.timestamp_ms)

    await read_up_to(log, await pin_offsets(log, [topic]), take)
    return table
