"""What inference does, as far as whoever asks can tell: each request on the log is answered as a test says."""

import asyncio
from collections.abc import Callable, Sequence

from headrace.events.inference import Answer, PredictionAnswered
from headrace.log.codec import Codec, Message, header, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, Start
from headrace.log.topics import Topics

# The answer to a request; None leaves it without one.
AnswerTo = Callable[[Message], Answer | None]


def reply_to(topics: Topics, asked: Sequence[tuple[str, bytes]], deployment: str, answer: Answer) -> Out:
    """The reply to a request with these headers, on the partition that it names."""
    headers = tuple(asked)
    answered = PredictionAnswered(header(headers, "ce_id") or "", deployment, answer)
    made = out(topics.name("inference.replies"), None, answered, Envelope("x", "", "test", 0.0))
    reply_id = (header(headers, "headrace_reply_id") or "").encode()
    partition = int(header(headers, "headrace_reply_partition") or "0")
    return Out(made.topic, None, made.value, (*made.headers, ("headrace_reply_id", reply_id)), partition)


async def answer_requests(
    log: MemoryLog, codec: Codec, topics: Topics, answer: AnswerTo, stop: asyncio.Event, start: Start = "end"
) -> None:
    """Answer requests until `stop`. `start`: `end` for those that come from now on, `beginning` for all."""
    reader = await log.reader(await log.partitions(topics.name("inference.requests")), start)
    while not stop.is_set():
        for record in await reader.fetch(0.05):
            request = codec.decode(record)
            answered = answer(request)
            if answered is not None:
                log.append(reply_to(topics, record.headers, request.event.deployment, answered))
