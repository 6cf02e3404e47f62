"""The way of a request through the service is the one that the README describes, and not longer."""

import re
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from headrace.events.inference import DecisionMade, PredictionRequested, Served
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record

Bench = Any  # the fixture of conftest.py

AT_S = 1_364_774_400.0
README = Path(__file__).parents[1] / "README.md"
OURS, THIS_SERVICE = "/src/headrace", "/src/headrace_inference"
MOST_HOPS = 25
REQUESTS = 50


def described() -> tuple[list[str], set[str]]:
    """The hops by their qualified names, in order, and all functions that the way names, helpers included."""
    text = README.read_text().split("## the way of a request", 1)[1]
    hops = re.findall(r"^\d+\. `([\w.]+)`", text, re.MULTILINE)
    return [hop.rsplit(".", 1)[-1] for hop in hops], {
        name.rsplit(".", 1)[-1] for name in re.findall(r"`([\w.]+)`", text)
    }


class Followed:
    """Counts the calls of our functions, in all threads that begin while it is installed."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.counts: Counter[str] = Counter()  # of this service
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if self.is_on and event == "call" and OURS in file:
            self.order.append(name)
            self.counts[name] += THIS_SERVICE in file


def asked(first: int) -> list[Message]:
    """Requests that the champion answers."""
    return [
        Message(
            Record("inference.requests", 0, n, b"u", b"", (("ce_id", f"r{n}".encode()),), int(AT_S * 1000)),
            Envelope(f"r{n}", "", "test", AT_S),
            PredictionRequested("delay", {"miles": float(n), "carrier": "AA"}, f"u{n}"),
        )
        for n in range(first, first + REQUESTS)
    ]


async def test_a_served_request_takes_the_described_hops_in_their_order_and_no_others(bench: Bench) -> None:
    await bench.register("delay", 1)
    await bench.route("delay", {1: 1.0}, champion=1)
    await bench.land("AA", [10.0])
    followed = Followed()
    threading.setprofile(followed)
    try:
        shard = await bench.shard()
        await shard.on_batch(asked(0))
        sys.setprofile(followed)
        followed.is_on = True
        outputs = await shard.on_batch(asked(REQUESTS))
        outs = outputs.deferred()
    finally:
        followed.is_on = False
        sys.setprofile(None)
        threading.setprofile(None)
        await shard.on_close()
    decided = [
        bench.codec.decode(Record(o.topic, 0, n, o.key, o.value, o.headers, 0)).event for n, o in enumerate(outs)
    ]
    assert [type(one) for one in decided] == [DecisionMade] * REQUESTS
    assert all(isinstance(one.answer, Served) for one in decided)
    hops, named = described()
    assert len(hops) <= MOST_HOPS
    firsts = [followed.order.index(hop) for hop in hops if hop != "ask"]
    assert firsts == sorted(firsts)
    # Every public function of this service that is run once per request, or more often, is named there.
    once_each = {name for name, count in followed.counts.items() if count >= REQUESTS}
    assert {name for name in once_each if not name.startswith(("_", "<"))} - named == set()
