"""A pipeline service of its own on a real broker, with a project whose transforms do what each message asks for."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headrace.events.ops import HealthReported
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, Record
from headrace.log.topics import Topics

CODE = """
import asyncio, ctypes, os, re, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
import msgspec
from headrace.project import *

class Seen(msgspec.Struct):
    at: float
    name: str

class Noted(msgspec.Struct):
    at: float
    name: str

seen = Source("seen", event=Seen, event_time="at", key="name")
noted = Source("noted", event=Noted, event_time="at", key="name")
good, bad, third = RawStream("good", partitions=1), RawStream("bad"), RawStream("third", partitions=1)
fourth, fifth = RawStream("fourth", partitions=1), RawStream("fifth", partitions=1)

@pipeline(good, to=[seen])
async def fine(messages):
    async for message in messages:
        yield Seen(message["at"], message["name"])

@pipeline(bad, to=[noted], limit="2s")
async def naughty(messages):
    async for message in messages:
        while message["do"] == "spin":
            pass
        if message["do"] == "raise":
            raise ValueError("no")
        if message["do"] == "sleep":
            time.sleep(1000)
        if message["do"] == "exit":
            os._exit(9)
        if message["do"] == "crash":
            ctypes.string_at(0)
        if message["do"] == "wild":
            re.match("(a+)+$", "a" * 64 + "b")
        yield Noted(message["at"], message["name"])

@pipeline(third, to=[])
async def never(messages):
    raise RuntimeError("no such table")
    yield

@pipeline(fourth, to=[noted], limit="60s")
async def patient(messages):
    home = Path(os.environ["HEADRACE_HOME"])
    async for message in messages:
        (home / "begun").touch()
        while not (home / "go").exists():
            await asyncio.sleep(0.05)
        yield Noted(message["at"], message["name"])

@pipeline(fifth, to=[noted])
async def pooled(messages):
    pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
    async for message in messages:
        if message["do"] == "crash":
            ctypes.string_at(0)
        yield Noted(message["at"], pool.submit(str.upper, message["name"]).result())

project = Project("mischief", [Deployment("d", "u", [Key("k")])], raw=[good, bad, third, fourth, fifth],
                  sources=[seen, noted], pipelines=[fine, naughty, never, patient, pooled])
"""


class Place:
    def __init__(self, settings: Settings, log: KafkaLog, folder: Path) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.topics = Topics.load(settings.namespace)
        self.codec = Codec(self.topics)
        self.service: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": self.settings.namespace,
            "HEADRACE_HOME": str(self.folder / "home"),
            "HEADRACE_APPLIED_FILE": str(self.folder / "home" / "applied.json"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, **environ: str) -> None:
        with (self.folder / "pipeline.log").open("ab") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "headrace_pipeline"], env=self.environ | environ, stdout=log, stderr=log
            )

    def end(self) -> int:
        assert self.service is not None
        self.service.send_signal(signal.SIGTERM)
        return self.service.wait(20)

    def apply(self, folder: Path | None = None, code: str = CODE, name: str = "mischief.py") -> None:
        folder = folder or self.folder
        (folder / name).write_text(code)
        command = [sys.executable, "-c", "from headrace_cli.main import app; app()", "apply", name]
        done = subprocess.run(
            command, env=self.environ, cwd=folder, capture_output=True, timeout=120, check=False, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    async def send(self, stream: str, *messages: dict[str, Any] | bytes, partition: int = 0) -> None:
        producer = await self.log.producer()
        values = [m if isinstance(m, bytes) else json.dumps({"at": 1.0} | m).encode() for m in messages]
        await producer.send([Out(self.topics.of_raw(stream), None, value, partition=partition) for value in values])
        await producer.close()

    async def records(self, topic: str) -> list[Record]:
        partitions = await self.log.partitions(topic)
        ends = await self.log.end_offsets(partitions)
        reader = await self.log.reader(partitions, "beginning")
        found: list[Record] = []
        try:
            while any([await reader.position(tp) < end for tp, end in ends.items()]):
                found += await reader.fetch(0.5, 5000)
        finally:
            await reader.close()
        return found

    async def names(self, source: str) -> list[str]:
        records = [
            r
            for r in await self.records(self.topics.of_source(source))
            if ("ce_type", b"pipeline.advanced") not in r.headers
        ]
        return [msgspec.msgpack.decode(r.value)["name"] for r in records]

    async def buried(self) -> list[str]:
        found = await self.records(self.topics.dlq("pipeline"))
        return [dict(r.headers)["__connect.errors.exception.message"].decode() for r in found]

    async def health(self) -> HealthReported | None:
        beats = [self.codec.decode(r).event for r in await self.records(self.topics.name("ops.health"))]
        return beats[-1] if beats else None

    async def until(self, holds: Callable[[], Any], within_s: float = 90.0) -> float:
        """Wait until an awaitable holds; returns the seconds waited."""
        begun_s = time.monotonic()
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(0.2)
        return time.monotonic() - begun_s


async def has(names: Any, wanted: str) -> bool:
    return wanted in await names
