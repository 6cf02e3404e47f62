"""The ceiling of committed answers: send_batch within transactions, nothing else. Arguments: brokers, topic, records per transaction, seconds."""

import asyncio
import json
import sys
import time

import aiokafka.producer.sender as sender
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sender.BACKOFF_OVERRIDE = 0.001
brokers, topic, size, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
HEADERS = [("ce_id", b"0123456789abcdef0123456789abcdef"), ("ce_type", b"decision.made"), ("ce_source", b"bench")]


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id="ceiling", enable_auto_commit=False)
    await consumer.start()
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, transactional_id="ceiling", linger_ms=0, max_batch_size=900_000
    )
    await producer.start()
    done, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        await producer.begin_transaction()
        batch = producer.create_batch()
        for _ in range(size):
            batch.append(key=b"unit", value=b"x" * 300, timestamp=None, headers=HEADERS)
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.send_offsets_to_transaction({TopicPartition(topic, 0): done}, "ceiling")
        await producer.commit_transaction()
        done += size
    print(json.dumps({"requests_per_s": done / (time.perf_counter() - began_s)}))
    await producer.stop()
    await consumer.stop()


asyncio.run(main())
