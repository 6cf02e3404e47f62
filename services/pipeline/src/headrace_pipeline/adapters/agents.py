"""Faust: reads raw streams in batches and acknowledges what is done.

Only what was measured to be exact is used: at least once, batches by `take_events` whose body never raises (it would
acknowledge in a `finally`; one that is cancelled keeps its batch), raw bytes, own producer with awaited acknowledgements.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import faust
from faust.types import TP, EventT

from headrace.hosting.settings import Settings
from headrace.log.port import Record
from headrace.log.tls import tls_context
from headrace.log.unpacking import cut_of

_MOST = 2000
_WITHIN_S = 0.02
_STOP_WITHIN_S = 5.0
# One pipeline's full buffer must not hold up the others: what a fetch brings fits in between "nearly full" (80 %) and full.
_BUFFERED = 4096
_FETCHED = 500

# Handles a batch; returns per stopped partition (topic, number) the first offset that is not done.
Handle = Callable[[Sequence[Record]], Awaitable[Mapping[tuple[str, int], int]]]


def _make_app(group: str, settings: Settings) -> faust.App:
    """A Faust app that starts nothing by itself."""
    return faust.App(
        group,
        broker=[f"aiokafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="headrace-pipeline-"),
        autodiscover=False,
        web_enabled=False,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        broker_session_timeout=10,
        broker_heartbeat_interval=2,
        broker_request_timeout=20,
        broker_commit_interval=1.0,
        topic_disable_leader=True,
        stream_buffer_maxsize=_BUFFERED,
        broker_max_poll_records=_FETCHED,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_linger=0.005,
    )


def _credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    context = tls_context(settings)
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context=context)


def _acknowledge(app: faust.App, events: Sequence[EventT], stopped: Mapping[tuple[str, int], int]) -> None:
    """Let the end of the batch acknowledge what is done; keep what lies past a stop, so that the group's offset stays before it,
    and fetch no more of that.

    NB: the end of the batch takes one reference of every message; one that has another stays unacknowledged.
    """
    for event in events:
        message = event.message
        if message.offset < stopped.get((message.topic, message.partition), message.offset + 1):
            message.decref()
    if stopped:
        app.consumer.pause_partitions([TP(*place) for place in stopped])


def _record(event: EventT) -> Record:
    message = event.message
    found: Any = message.headers or ()
    headers = tuple(found.items() if isinstance(found, dict) else found)
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        headers,
        int(message.timestamp * 1000),
        *cut_of(message.checksum),
    )


def _add_agent(app: faust.App, name: str, topic: str, handle: Handle) -> None:
    stream_topic = app.topic(topic, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)

    async def read(stream: Any) -> None:
        async for events in stream.take_events(_MOST, within=_WITHIN_S):
            # NB: Faust acknowledges a batch whose work is cancelled, and does so before the work knows of it: the stop would
            # commit what is not done. So all of it is kept until it is done.
            for event in events:
                event.message.incref()
            try:
                _acknowledge(app, events, await handle([_record(event) for event in events]))
            except asyncio.CancelledError:
                raise
            except BaseException:
                # NB: leaving the body in any other way would acknowledge the batch: end before that.
                app.log.exception("pipeline %s cannot go on", name)
                os._exit(1)

    app.agent(stream_topic, name=f"{app.conf.id}.{name}", concurrency=1)(read)


class Agents:
    """The agents of this process, in one Faust app and one consumer group."""

    def __init__(self, group: str, settings: Settings) -> None:
        self._app = _make_app(group, settings)

    def add(self, name: str, topic: str, handle: Handle) -> None:
        """Add an agent that hands batches of `topic` to `handle`; before `start`."""
        _add_agent(self._app, name, topic, handle)

    async def start(self) -> None:
        """Join the group."""
        await self._app.start()

    def assigned(self) -> set[tuple[str, int]]:
        """The partitions that this worker reads."""
        return {(tp.topic, tp.partition) for tp in self._app.consumer.assignment()}

    async def stop(self) -> None:
        """Stop in order; after the limit leave the process, since a worker can hang while it stops."""
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._app.stop()
        except TimeoutError:
            os._exit(0)
