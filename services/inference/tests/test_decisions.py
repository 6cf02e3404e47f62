"""Who answers a request, with which row, and what its decision says of that."""

from typing import Any

import msgspec
import numpy as np

from headrace.clock import ManualClock
from headrace.events.failures import NotLoaded, RowUnfit
from headrace.events.features import FeatureShardAdvanced
from headrace.events.inference import (
    Expired,
    FellBack,
    Invalid,
    Refused,
    Score,
    Served,
)
from headrace.project import Count, Deployment, FeatureView, Number, Project, Source, prior
from headrace.project.compile import compile_project

Bench = Any  # the fixture of conftest.py

FLIGHT = {"miles": 500.0, "carrier": "AA"}


async def test_without_a_version_the_prior_answers_and_the_row_is_logged(bench: Bench) -> None:
    await bench.land("AA", [10.0, 20.0])
    async with bench.running():
        await bench.ask("delay", FLIGHT, "UA-7")
        (decision,) = await bench.decisions()
    assert decision.answer == FellBack("prior", "no version yet", Score(0, "", 0.26))
    assert bench.row(decision)[0] == 500.0
    assert np.isnan(bench.row(decision)[1])
    assert bench.row(decision)[2:] == [15.0, 2.0]
    assert decision.entities == {"carrier": "AA"}
    assert decision.applied == {"events.landings.v1/0": 2, "events.landings.v1/1": 0}


class Call(msgspec.Struct):
    """A ship calls at a port."""

    port: str
    at: float


async def test_a_source_of_which_a_view_is_not_built_yet_is_contained_in_no_row(bench: Bench) -> None:
    """Else its features, which have no value yet, would count against the events that they do not contain."""
    calls = Source("calls", event=Call, event_time="at", key="port", partitions=2)
    built, unbuilt = (FeatureView(name, calls, "port", {"calls": Count(name[1:])}) for name in ("v1h", "v3h"))
    ship = Deployment(
        "ship",
        unit="ship",
        inputs=[Number("port", 0, 9)],
        features=[built.by("port"), unbuilt.by("port")],
        fallback=[prior(0.5)],
    )
    project = compile_project(Project("ships", [ship], sources=[calls], views=[built, unbuilt]))
    await bench.set_up(project)
    topic = bench.topics.of_source("calls")
    for partition in range(2):
        applied, views = {f"{topic}/{partition}": 4}, (project.views[0].key,)
        advanced = FeatureShardAdvanced("calls", partition, applied, views=views, max_event_s=1.0)
        await bench.put("features.online", f"~shard/calls/{partition}", advanced, partition=partition)
    async with bench.running():
        await bench.ask("ship", {"port": 3})
        (decision,) = await bench.decisions()
    assert (decision.missing, decision.applied) == (("v3h.calls",), {})


async def test_an_unknown_entity_is_served_and_its_features_are_marked_missing(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", {"miles": 500.0, "carrier": "ZZ"})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert "carrier.mean" in decision.missing


async def test_a_deployment_without_fallback_and_version_is_refused_with_the_way_out(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("plain", {"x": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Refused)
    assert "headrace model register" in decision.answer.reason


async def test_the_decision_lies_in_the_partition_of_its_request(bench: Bench) -> None:
    async with bench.running():
        for n in range(20):
            await bench.ask("delay", FLIGHT, f"unit-{n}", id=f"r{n}")
        requests = await bench.read("inference.requests")
        decisions = await bench.read("inference.decisions", lambda found: len(found) >= 20)
    lies = {message.envelope.id: message.record.partition for message in requests}
    assert len(set(lies.values())) == 2
    assert all(lies[m.event.request_id] == m.record.partition for m in decisions)
    assert all(m.envelope.causation_id == m.event.request_id for m in decisions)


async def test_the_champion_answers_and_the_previous_version_shadows_the_same_request(bench: Bench) -> None:
    await bench.register("delay", 1, vocabularies={"carrier": ("UA",)})
    await bench.register("delay", 2, vocabularies={"carrier": ("UA", "AA")})
    await bench.route("delay", {2: 1.0}, champion=2, previous=1, shadows=(1,))
    await bench.land("AA", [10.0, 20.0])
    await bench.land("UA", [10.0])
    async with bench.running():
        await bench.ask("delay", {"miles": 500.0, "carrier": "UA"})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Served)
    assert decision.answer.score.version == 2
    assert decision.answer.score.model_digest == "digest-2"
    assert [shadow.version for shadow in decision.shadows] == [1]
    assert decision.signature == bench.versions["delay", 2].signature.digest
    assert bench.row(decision)[:2] == [500.0, 0.0]


async def test_a_decision_records_who_was_to_answer_how_long_it_took_and_which_shadow_gave_nothing(
    bench: Bench,
) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, shadows=(1, 7))
    async with bench.running():
        await bench.ask("plain", {"x": 0.5})
        (decision,) = await bench.decisions()
    assert (decision.assigned, decision.override) == (2, "")
    assert decision.took_ms.keys() == {"1", "2"}
    assert decision.failures == {"7": NotLoaded("not loaded yet")}


async def test_a_preview_is_answered_by_the_named_version_whatever_the_route_says(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, warm=(1,))
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, headers=(("headrace_version", b"1"),))
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Served)
    assert decision.answer.score.version == 1
    assert (decision.assigned, decision.override) == (1, "preview")


async def test_a_preview_that_is_not_loaded_goes_down_the_fallback_chain_with_the_reason(bench: Bench) -> None:
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2)
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, headers=(("headrace_version", b"9"),))
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert (decision.answer.step, decision.answer.score.version) == ("champion", 2)
    assert decision.answer.reason == "preview (version 9): not loaded yet"
    assert decision.failures == {"9": NotLoaded("not loaded yet")}


async def test_a_tenants_override_decides_before_the_shares(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, warm=(1,), overrides={"acme": 1})
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, id="r1", headers=(("headrace_tenant", b"acme"),))
        await bench.ask("plain", {"x": 0.5}, id="r2", headers=(("headrace_tenant", b"other"),))
        decisions = await bench.decisions(2)
    assert {d.request_id: (d.answer.score.version, d.override) for d in decisions} == {
        "r1": (1, "tenant"),
        "r2": (2, ""),
    }


async def test_an_unknown_deployment_and_a_broken_contract_are_invalid_and_not_dead_lettered(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", {"miles": 99999.0, "carrier": "AA"}, id="r1")
        await bench.ask("nobody", {}, id="r2")
        decisions = await bench.decisions(2)
    assert all(isinstance(decision.answer, Invalid) for decision in decisions)
    assert bench.health.dead_lettered == 0


async def test_a_deployment_that_was_published_a_moment_ago_is_known(bench: Bench) -> None:
    late = compile_project(Project("late", [Deployment("newborn", unit="u", inputs=[Number("x")])]))
    async with bench.running():
        await bench.apply(late)
        await bench.ask("newborn", {"x": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Refused)


async def test_a_request_whose_deadline_has_passed_expires(bench: Bench, clock: ManualClock) -> None:
    await bench.ask("delay", FLIGHT, deadline_ms=50)
    clock.advance(1)
    async with bench.running():
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Expired)
    assert decision.answer.late_ms == 950


async def test_garbage_is_dead_lettered_and_the_next_request_is_decided(bench: Bench) -> None:
    from headrace.log.port import Out

    topic = bench.topics.name("inference.requests")
    async with bench.running():
        await bench.send([Out(topic, b"u1", b"\xc1")])
        await bench.ask("delay", FLIGHT, "u1")
        await bench.decisions()
        await bench.until(lambda: bench.health.dead_lettered == 1)


async def test_a_plain_json_request_is_decided_at_the_instant_of_its_header(bench: Bench) -> None:
    from headrace.log.port import Out

    value = b'{"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}'
    headers = (("ce_time", b"2013-03-31T12:00:00Z"),)
    async with bench.running():
        await bench.send([Out(bench.topics.name("inference.requests"), b"flight-1", value, headers)])
        (decision,) = await bench.decisions()
    assert (decision.unit, decision.at_s) == ("flight-1", 1_364_731_200.0)


async def test_a_request_that_lacks_features_goes_down_to_the_baseline_which_needs_none(bench: Bench) -> None:
    await bench.register("safe", 1, pins={"inputs_only": True})
    await bench.register("safe", 2)
    await bench.route("safe", {2: 1.0}, champion=2, baseline=1)
    await bench.land("AA", [10.0])
    async with bench.running():
        await bench.ask("safe", {"miles": 500.0, "carrier": "AA"}, id="known")
        await bench.ask("safe", {"miles": 500.0, "carrier": "UA"}, id="unknown")
        found = {decision.request_id: decision for decision in await bench.decisions(2)}
    assert isinstance(found["known"].answer, Served)
    fallen = found["unknown"]
    assert fallen.answer.step == "baseline"
    assert fallen.answer.reason == "champion (version 2): 1 of 2 features are missing or stale, 40% may be"
    assert fallen.failures == {"2": RowUnfit("1 of 2 features are missing or stale, 40% may be")}
    assert fallen.signature == bench.versions["safe", 1].signature.digest
    assert bench.row(fallen) == [500.0, 1.0]
    assert fallen.missing == ("carrier.mean",)


async def test_applied_origins_appear_in_health(bench: Bench) -> None:
    async with bench.running():
        await bench.land("AA", [1.0, 2.0, 3.0])
        await bench.until(lambda: bench.health.applied == {"events.landings.v1/0": 2})


async def test_a_definition_that_changed_its_columns_no_longer_asks_the_old_version(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    changed = Deployment("plain", unit="thing", inputs=[Number("y")], fallback=[prior(0.1)])
    async with bench.running():
        await bench.apply(compile_project(Project("flights", [changed])))
        await bench.until(lambda: bench.projects.deployment("plain")[1].inputs[0].name == "y")
        await bench.ask("plain", {"y": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert "columns" in decision.answer.reason
