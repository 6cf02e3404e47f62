"""One worker of the feature service on a preloaded topic: prints how long it took to the last commit."""

import argparse
import asyncio
import json
import time

from bench.flights import definition
from headrace.hosting.group import ShardGroup
from headrace.hosting.health import Health
from headrace.hosting.runtime import collect_rarely
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, SourceEvent
from headrace.log.kafka import KafkaLog
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.compile_streams import event_struct
from headrace_feature.adapters.admission import Admission
from headrace_feature.adapters.history import History
from headrace_feature.settings import MAX_BATCH
from headrace_feature.shell import SERVICE, FeatureShard


async def fold(bootstrap_servers: str, namespace: str) -> dict[str, float]:
    """Fold everything once, exactly once."""
    log, topics, project = (
        KafkaLog(Settings(bootstrap_servers, namespace=namespace)),
        Topics.load(namespace),
        definition(),
    )
    await log.start()
    source = topics.of_source("departures")
    codec = Codec(topics, {source: event_struct(project.sources[0])})
    admission = Admission(codec, topics, project.sources)
    partitions = await log.partitions(source)
    ends, health = await log.end_offsets(partitions), Health(SERVICE, "bench")
    began_s: list[float] = []

    def decode(record: Record) -> SourceEvent:
        if not began_s:
            began_s.append(time.perf_counter())
        return admission.decode(record)

    def make(shard: int) -> FeatureShard:
        return FeatureShard(topics, [project], shard, lambda tp: History(log, admission, tp), health)

    host = ShardGroup(
        log,
        codec,
        topics,
        service=SERVICE,
        inputs=[source],
        make=make,
        health=health,
        max_batch=MAX_BATCH,
        decode=decode,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(host.run(stop))
    while not await _is_done(log, topics, partitions, ends):
        await asyncio.sleep(0.05)
    took_s = time.perf_counter() - min(began_s)
    stop.set()
    await task
    await log.stop()
    return {"events": sum(ends.values()), "seconds": took_s}


async def _is_done(log: KafkaLog, topics: Topics, partitions: list[TopicPartition], ends: dict) -> bool:
    committed = await log.committed(topics.group(SERVICE), partitions)
    return all(committed.get(tp, 0) >= end for tp, end in ends.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap_servers")
    parser.add_argument("namespace")
    given = parser.parse_args()
    collect_rarely()  # as every service does
    print(json.dumps(asyncio.run(fold(given.bootstrap_servers, given.namespace))))
