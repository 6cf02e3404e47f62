"""`dataset build` on the log in memory: the rows that serving saw, to one digest, reading only what is new."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.definition import digest_of
from headrace.events.features import PipelineAdvanced
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.features.row_cache.cache import State
from headrace.features.row_cache.parts import framed
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, Origin
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Category, Count, Deployment, Derived, FeatureView, Mean, Number, Project, Source
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.commands.dataset import outcome_counts
from headrace_cli.dataset.building import Wanted, build_dataset
from headrace_cli.session import Session

START = 1_364_774_400.0
DAY = 86_400.0


class Landing(msgspec.Struct):
    landed_at: float
    carrier: str
    flight: str
    delay_min: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="landed_at", key="carrier", dedupe="flight")
CARRIER = FeatureView(
    "carrier", LANDINGS, "carrier", {"mean": Mean("delay_min", "3h", default=0), "count": Count("24h")}
)
PROJECT = compile_project(
    Project(
        "flights",
        [
            Deployment(
                "delay",
                "flight",
                [Number("miles"), Category("carrier")],
                [CARRIER.by("carrier")],
                derived=[Derived("kilo_miles", lambda r: r.miles / 1000)],
                label=Binary("late", "24h"),
            )
        ],
        sources=[LANDINGS],
        views=[CARRIER],
    )
)


class Bench:
    """A log with a project, and something to put on it."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self.log, self.clock, self.topics = log, clock, Topics.load()
        self.codec = Codec(self.topics)
        self.projects = Projects(log, self.codec, self.topics)
        self.sent = 0

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        await self.put(
            "project.definitions.v1", "flights", ProjectApplied("flights", digest_of(PROJECT), "", PROJECT, START)
        )
        await self.projects.start()
        return self

    async def put(self, topic: str, key: str | None, event: msgspec.Struct, at_s: float = START, **more) -> None:
        self.sent += 1
        envelope = Envelope(more.get("id", f"e{self.sent}"), "", "test", at_s, origin=more.get("origin"))
        await (await self.log.producer()).send([out(topic, key, event, envelope, more.get("partition"))])

    async def land(self, carrier: str, number: int, delay: float | None, **more) -> None:
        at_s = START + 600 * number
        await self.put("events.landings.v1", carrier, Landing(at_s, carrier, f"f{number}", delay), at_s, **more)

    async def ask(self, unit: str, at_s: float, carrier: str = "AA") -> None:
        request = PredictionRequested("delay", {"miles": 1500.0, "carrier": carrier}, unit)
        await self.put("inference.requests.v1", unit, request, at_s, id=f"r-{unit}")

    async def label(self, unit: str, label: float, at_s: float, ident: str = "", corrects: str | None = None) -> None:
        event = OutcomeObserved("delay", unit, label, corrects=corrects)
        await self.put("inference.outcomes.v1", unit, event, at_s, **({"id": ident} if ident else {}))

    async def build(self, folder: Path, to_s: float = START + DAY, **more) -> tuple[dict, pl.DataFrame]:
        session = Session(self.log, self.topics, self.codec, self.projects, self.clock)  # type: ignore[arg-type]
        wanted = Wanted("delay", START, to_s, more.get("offsets"), more.get("topic_ids", {}))
        manifest = await build_dataset(session, wanted, folder, lambda share: None)
        return manifest, pl.read_parquet(folder / "rows.parquet")


@pytest.fixture
async def bench(memory_log: MemoryLog, clock: ManualClock) -> Bench:
    clock.advance(86_400)  # nothing below lies ahead of its append time
    bench = await Bench(memory_log, clock).set_up()
    for number in range(12):
        await bench.land("AA" if number % 3 else "UA", number, float(number) if number != 7 else None)
    for number in range(4):
        await bench.ask(f"u{number}", START + 3600 * (number + 1))
        await bench.label(f"u{number}", float(number % 2), START + 3600 * (number + 3))
    return bench


async def test_rows_hold_inputs_derived_columns_features_with_defaults_and_labels(bench: Bench, tmp_path: Path) -> None:
    manifest, rows = await bench.build(tmp_path)
    assert (manifest["rows"], manifest["labelled"]) == (4, 4)
    assert rows["unit"].to_list() == ["u0", "u1", "u2", "u3"]
    assert rows["kilo_miles"].to_list() == [1.5] * 4
    # At +1h with 15 minutes of feature delay: landings 1, 2 and 4 (delays 1, 2, 4) of AA lie in complete panes.
    assert rows["carrier.mean"][0] == np.float32(7 / 3)
    assert rows["label"].to_list() == [0.0, 1.0, 0.0, 1.0]


async def test_a_second_build_reads_only_what_is_new_and_has_the_same_digest(bench: Bench, tmp_path: Path) -> None:
    first, _ = await bench.build(tmp_path)
    again, _ = await bench.build(tmp_path)
    assert again["digest"] == first["digest"]
    assert again["records_read"] == 0
    await bench.ask("later", START + 2 * DAY)
    grown, _ = await bench.build(tmp_path)
    assert (grown["digest"], grown["records_read"]) == (first["digest"], 1)
    whole, _ = await bench.build(tmp_path, START + 3 * DAY)
    fresh, _ = await bench.build(tmp_path / "fresh", START + 3 * DAY)
    assert whole["rows"] == 5
    assert whole["digest"] == fresh["digest"] != first["digest"]


async def test_repeats_across_two_builds_count_once(bench: Bench, tmp_path: Path) -> None:
    origin = Origin("raw.movements.v1", 0, 5)
    await bench.land("AA", 20, 50.0, origin=origin, partition=0)
    first, _ = await bench.build(tmp_path)
    await bench.land("AA", 20, 50.0, origin=origin, partition=0)  # a pipeline that was killed says it again
    await bench.land("AA", 5, 5.0)  # a feed that repeats itself
    await bench.put("events.landings.v1", None, PipelineAdvanced("land", "raw.movements.v1", 0, 5), partition=0)
    again, _ = await bench.build(tmp_path)
    assert again["records_read"] == 3
    assert again["digest"] == first["digest"]


async def test_the_first_outcome_within_the_horizon_counts_and_the_use_of_each_is_reported(
    bench: Bench, tmp_path: Path
) -> None:
    before, _ = await bench.build(tmp_path)
    bench.clock.advance(2 * DAY)
    await bench.ask("corrected", START + 100)
    await bench.label("corrected", 0.0, START + 200, "first")
    await bench.label("corrected", 1.0, START + 300, corrects="first")
    await bench.label("corrected", 0.0, START + 2 * DAY, corrects="first")
    await bench.ask("told twice", START + 100)
    await bench.label("told twice", 0.0, START + 200)
    await bench.label("told twice", 1.0, START + 300)
    await bench.ask("too late", START + 100)
    await bench.label("too late", 1.0, START + 2 * DAY)
    manifest, rows = await bench.build(tmp_path)
    labels = dict(zip(rows["unit"], rows["label"], strict=True))
    assert (labels["corrected"], labels["told twice"], labels["too late"]) == (1.0, 0.0, None)
    assert manifest["labelled"] == manifest["rows"] - 1
    more = {name: count - before["outcomes"][name] for name, count in manifest["outcomes"].items()}
    assert {name: count for name, count in more.items() if count} == {"used": 3, "second": 1, "beyond_horizon": 2}
    assert (await bench.build(tmp_path))[0]["digest"] == manifest["digest"]


async def test_outcomes_of_invalid_requests_are_distinguished_from_those_of_no_request(
    bench: Bench, tmp_path: Path
) -> None:
    before, _ = await bench.build(tmp_path)
    broken = PredictionRequested("delay", {"miles": "many", "carrier": "AA"}, "broken")
    await bench.put("inference.requests.v1", "broken", broken, START + 100, id="r-broken")
    await bench.label("broken", 1.0, START + 200)
    await bench.label("broken", 0.0, START + 300)
    await bench.label("never asked", 1.0, START + 200)
    manifest, _ = await bench.build(tmp_path)
    more = {name: count - before["outcomes"][name] for name, count in manifest["outcomes"].items()}
    assert {name: count for name, count in more.items() if count} == {"of_no_request": 1, "of_invalid_request": 2}
    assert outcome_counts(manifest["outcomes"]).endswith("4 used, 1 of no request, 2 of invalid request")
    assert manifest["rows"] == before["rows"]


async def test_a_manifest_gives_the_rows_of_then_though_the_past_was_amended(bench: Bench, tmp_path: Path) -> None:
    first, _ = await bench.build(tmp_path)
    await bench.land("AA", 2, 500.0, id="late")
    await bench.put("events.landings.v1", "AA", Landing(START + 1200, "AA", "unheard-of", 500.0), START + 1200)
    amended, _ = await bench.build(tmp_path)
    assert amended["digest"] != first["digest"]
    repeated, _ = await bench.build(tmp_path / "again", offsets=first["offsets"])
    assert repeated["digest"] == first["digest"]
    with pytest.raises(Misconfigured, match="newer rows"):
        await bench.build(tmp_path, offsets=first["offsets"])


async def test_a_broken_state_of_another_definition_is_read_anew(bench: Bench, tmp_path: Path) -> None:
    first, _ = await bench.build(tmp_path)
    state = tmp_path / ".cache" / "state"
    # NB: whole and readable, and the digest of other sources or topics.
    of_another = msgspec.msgpack.encode(State("something else", file=0, size=10, next={"x/0": 7}))
    state.write_bytes(framed(0.0, of_another))
    again, _ = await bench.build(tmp_path)
    assert again["records_read"] == first["records_read"] == 20
    assert again["digest"] == first["digest"]


async def test_of_topics_made_again_nothing_that_was_kept_is_given_and_no_old_manifest_is_followed(
    bench: Bench, tmp_path: Path
) -> None:
    first, _ = await bench.build(tmp_path)
    name = bench.topics.name("inference.requests")
    spec = next(found for found in bench.topics.specs() if found.name == name)
    bench.log.delete_topic(name)
    await bench.log.create_topics([spec])
    for number in range(40):
        await bench.ask(f"new{number}", START + 60 * number)
    again, rows = await bench.build(tmp_path)
    assert (again["rows"], again["records_read"]) == (40, first["records_read"] - 4 + 40)
    assert all(unit.startswith("new") for unit in rows["unit"])
    with pytest.raises(Misconfigured, match=r"^inference\.requests\.v1: deleted and created again since the manifest"):
        await bench.build(tmp_path / "other", offsets=first["offsets"], topic_ids=first["topic_ids"])
    same, _ = await bench.build(tmp_path / "other", offsets=again["offsets"], topic_ids=again["topic_ids"])
    assert same["digest"] == again["digest"]


@pytest.mark.parametrize("name", ["state", "parts-0"])
@pytest.mark.parametrize("what", ["empty", "torn", "flipped", "gone", "nothing of ours"])
async def test_a_cache_that_cannot_be_read_costs_a_reading_of_the_log(
    bench: Bench, tmp_path: Path, name: str, what: str
) -> None:
    first, _ = await bench.build(tmp_path)
    path = tmp_path / ".cache" / name
    data = path.read_bytes()
    half = len(data) // 2
    match what:
        case "empty":
            path.write_bytes(b"")
        case "torn":
            path.write_bytes(data[:half])
        case "flipped":
            path.write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
        case "gone":
            path.unlink()
        case _:
            path.write_bytes(b"\xc1" * 100)
    again, _ = await bench.build(tmp_path)
    assert again["records_read"] == first["records_read"]
    assert again["digest"] == first["digest"]
