"""The area of shadows: what a shadow that takes 200 ms a call does to the answers, at a quarter of what the service can do.

Two services, one without and one with the shadow, are asked in turns by an open loop.
"""

import asyncio
import contextlib
from collections import Counter

from bench.broker import own_broker
from bench.measure import ForeignLoad, Row, Series, compare, progress
from bench.model import trained
from bench.served import Served
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all

SECONDS, ROUNDS, SETTLED_WITHIN_S = 5.0, 5, 30.0
FORMS = ("committed", "fast")


def run() -> list[Row]:
    """All rows of the area."""
    with own_broker() as (broker, _), contextlib.ExitStack() as stack:
        model = trained()
        plain = stack.enter_context(Served(broker, model).running("inference"))
        shadowed = stack.enter_context(Served(broker, model, has_shadow=True).running("inference"))
        load = stack.enter_context(ForeignLoad())
        rows = [row for form in FORMS for row in _compared(plain, shadowed, form)]
        recorded = asyncio.run(_recorded(shadowed))
        share = compare(
            "shadows.recorded",
            "share of decisions with their shadow's score",
            Series([recorded]),
            demanded=">= 0.99",
            meets=lambda ours, _: ours >= 0.99,
            foreign=load.share,
        )
    return [*rows, share]


def _compared(plain: Served, shadowed: Served, form: str) -> list[Row]:
    found = plain.ask(form, 64, SECONDS)
    rate = (found or {"requests_per_s": 400.0})["requests_per_s"] / 4
    without, along = Series(), Series()
    with ForeignLoad() as load:
        for number in range(ROUNDS):
            progress(f"shadows, {form}, {rate:.0f} requests/s, round {number + 1} of {ROUNDS}")
            for series, served in ((without, plain), (along, shadowed)):
                figures = served.ask(form, 64, SECONDS, rate)
                if figures is not None:
                    series.values.append(figures["p99_ms"])
                    progress(f"  p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms")
    return [
        compare(
            f"shadows.p99_{form}",
            f"ms, p99, with a shadow of 200 ms a call, {rate:.0f} requests/s",
            along,
            peer="ours without a shadow",
            theirs=without,
            demanded="<= 1.2 times",
            meets=lambda _, ratio: (ratio or 0.0) >= 1 / 1.2,
            foreign=load.share,
        )
    ]


async def _recorded(served: Served) -> float:
    """The share of decisions whose shadow's score is in the log, once none is due any more."""
    log = KafkaLog(Settings(served.broker.bootstrap_servers, namespace=served.namespace))
    await log.start()
    topic, codec = served.topics.name("inference.decisions"), Codec(served.topics)
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while True:
                events = [message.event for message in await read_all(log, codec, [topic])]
                decided = [event for event in events if isinstance(event, DecisionMade)]
                late = [event for event in events if isinstance(event, ShadowScored)]
                if sum(len(event.shadows_due) for event in decided) <= len(late):
                    break
                await asyncio.sleep(0.5)
    finally:
        await log.stop()
    failed = Counter(type(event.failure).__name__ for event in late if event.failure)
    failed += Counter(type(failure).__name__ for event in decided for failure in event.failures.values())
    progress(f"shadows: {len(decided)} decisions, {len(late)} scores came late, failures: {dict(failed)}")
    scored = sum(len(event.shadows) for event in decided) + sum(event.score is not None for event in late)
    return scored / max(1, len(decided))
