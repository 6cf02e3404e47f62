"""Quix Streams: a stateful count per key over the same topic, at least once. Arguments: brokers, topic, events, state folder."""

import json
import sys
import time

from quixstreams import Application

brokers, name, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
app = Application(
    broker_address=brokers,
    consumer_group=f"quix-{time.time_ns()}",
    auto_offset_reset="earliest",
    state_dir=folder,
    loglevel="ERROR",
)
seen: list[float] = []


def counted(value, state):
    seen.append(0.0) if seen else seen.append(time.perf_counter())
    state.set("n", state.get("n", 0) + 1)
    return value


frame = app.dataframe(app.topic(name, value_deserializer="bytes", key_deserializer="bytes"))
frame.update(counted, stateful=True)
app.run(count=count, timeout=60)
print(json.dumps({"events": len(seen), "seconds": time.perf_counter() - seen[0]}))
