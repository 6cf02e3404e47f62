"""The raw echo: fetch, send back, nothing else. Arguments: brokers, request topic, partitions, reply topic."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

brokers, requests, partitions, replies = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False, fetch_max_wait_ms=500)
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks=1, linger_ms=0)
    await consumer.start()
    await producer.start()
    places = [TopicPartition(requests, number) for number in range(partitions)]
    consumer.assign(places)
    await consumer.seek_to_end(*places)
    for place in places:
        await consumer.position(place)
    print("ready", flush=True)
    while True:
        found = await consumer.getmany(timeout_ms=500, max_records=5000)
        batch = producer.create_batch()
        count = 0
        for record in (record for part in found.values() for record in part):
            if batch.append(key=None, value=record.value, timestamp=None, headers=list(record.headers)) is None:
                await producer.send_batch(batch, replies, partition=0)
                batch, count = producer.create_batch(), 0
                batch.append(key=None, value=record.value, timestamp=None, headers=list(record.headers))
            count += 1
        if count:
            await producer.send_batch(batch, replies, partition=0)


asyncio.run(main())
