"""Pipelines run without a broker."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from headrace.project import Deduplicate, Join, Outcome, RawStream, Reference, Source, outcomes, pipeline
from headrace_pipeline.testing import run_pipeline


class Flown(msgspec.Struct):
    at: float
    flight: str
    carrier_name: str
    minutes: float


FLOWN = Source("flown", event=Flown, event_time="at", key="flight")
CARRIERS = Reference("carriers")


@pipeline(RawStream("movements"), to=[FLOWN, outcomes("delay")], enrich=[CARRIERS], remembers="6h")
async def land(
    messages: AsyncIterator[dict[str, Any]], carriers: Mapping[str, dict[str, str]]
) -> AsyncIterator[Flown | Outcome]:
    seen, pairs = Deduplicate("1h"), Join("6h")
    async for message in messages:
        if seen.is_repeat((message["kind"], message["flight"]), message["at"]):
            continue
        for other in pairs.match(message["kind"], message["flight"], message, message["at"]):
            took = abs(message["at"] - other["at"]) / 60
            name = carriers[message["carrier"]]["name"]
            yield Flown(max(message["at"], other["at"]), message["flight"], name, took)
            yield Outcome(message["flight"], float(took > 60), message["at"])


def message(kind: str, at: float, flight: str = "AA1", carrier: str = "AA") -> dict[str, Any]:
    return {"kind": kind, "at": at, "flight": flight, "carrier": carrier}


NAMES = {"carriers": {"AA": {"name": "American"}}}


def test_a_pipeline_filters_enriches_joins_and_deduplicates_without_a_broker() -> None:
    ran = run_pipeline(
        land,
        [
            message("departed", 0.0),
            message("departed", 5.0),
            message("landed", 7200.0),
            message("landed", 7260.0, "UA2"),
            message("departed", 60.0, "UA2"),  # comes late
        ],
        NAMES,
    )
    assert ran.of(Flown) == [Flown(7200.0, "AA1", "American", 120.0), Flown(7260.0, "UA2", "American", 120.0)]
    assert [found.label for found in ran.of(Outcome)] == [1.0, 1.0]
    assert [len(found) for found in ran.yielded] == [0, 0, 2, 0, 2]
    assert ran.poison == {}


def test_what_may_not_pass_is_told_per_message() -> None:
    ran = run_pipeline(
        land, [b"\xc1", message("departed", 0.0), {"kind": "landed"}, message("landed", 60.0, carrier="XX")], NAMES
    )
    assert sorted(ran.poison) == [0, 2, 3]
    assert "not MessagePack" in ran.poison[0]
    assert "KeyError: 'flight'" in ran.poison[2]
    assert "KeyError: 'XX'" in ran.poison[3]  # what was remembered before the failure still is


def test_an_event_outside_its_contract_does_not_pass() -> None:
    @pipeline(RawStream("movements"), to=[FLOWN])
    async def wrong(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Flown]:
        async for found in messages:
            yield Flown(found["at"], found["flight"], "name", "long")  # type: ignore[arg-type]

    assert "broke the contract of flown" in run_pipeline(wrong, [message("landed", 1.0)]).poison[0]


def test_a_transform_that_hangs_costs_that_message_only() -> None:
    @pipeline(RawStream("movements"), to=[FLOWN])
    async def slow(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Flown]:
        import asyncio

        async for found in messages:
            if found["flight"] == "stuck":
                await asyncio.Event().wait()
            yield Flown(found["at"], found["flight"], "name", 1.0)

    ran = run_pipeline(slow, [message("a", 1.0), message("a", 2.0, "stuck"), message("a", 3.0)], limit_s=0.2)
    assert [event.at for event in ran.of(Flown)] == [1.0, 3.0]
    assert "no step for 0.2 s" in ran.poison[1]
