"""Faults that are planted into the real flights of January 2013 are found within one monitoring interval, and named.

Messages run through the example's own pipelines, rows are served as inference serves them, and each day closes a window.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from headrace.events.inference import DecisionMade, FellBack, Score
from headrace.events.monitor import ColumnProfile, FindingOpened, SourceProfile, WindowClosed
from headrace.features.as_of import as_of
from headrace.features.differences import cause_of
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.features.plan import plan_view
from headrace.features.rows import entities_of
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace_flights.events import Departure, Landing, Weather
from headrace_flights.pipelines import follow_flights, read_weather
from headrace_flights.project import project
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_monitor.core.contracts import judge
from headrace_monitor.core.findings import Findings, findings_of, on_window
from headrace_monitor.core.profiles import profile_sources
from headrace_pipeline.testing import run_pipeline
from headrace_trainer.core.gates import judge_parity

DAY = 86_400.0
DAYS = 16
BROKEN_DAY = 14
PROJECT = compile_project(project)
DEPLOYMENT = PROJECT.deployments[0]
UNTRAINED = msgspec.structs.replace(DEPLOYMENT, training=None)
TOPICS = {source.name: f"events.{source.name}.v1" for source in PROJECT.sources}
INPUTS = sum(field.kind != "key" for field in DEPLOYMENT.inputs)
PLANS = [plan_view(PROJECT, binding.view) for binding in DEPLOYMENT.features]
NAMES = [name for plan in PLANS for name in plan.feature_names]
EVERY = 12  # one request in so many is served, which is enough for every feature

Change = Callable[[msgspec.Struct, float], msgspec.Struct | None]


@dataclass
class World:
    """Sixteen days of events with their instants, and of requests."""

    events: list[tuple[str, msgspec.Struct]]
    asked: list = field(default_factory=list)

    def tables(self, change: Change = lambda event, at_s: event) -> dict[str, EventTable]:
        """The events of the sources, each after `change` (None: the event never arrived)."""
        found = {source.name: EventTable(source) for source in PROJECT.sources}
        structs = {source.name: event_struct(source) for source in PROJECT.sources}
        for name, event in self.events:
            changed = change(event, when(event))
            if changed is not None:
                table = found[name]
                table.add(structs[name](**msgspec.structs.asdict(changed)), 0, len(table))
        return found


def when(event: msgspec.Struct) -> float:
    """The instant from which an event may be used."""
    if isinstance(event, Weather):
        return event.observed_at.timestamp() + 3600
    return (event.departed_at if isinstance(event, Departure) else event.landed_at).timestamp()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def world() -> World:
    schedule = Schedule()
    until_s = EPOCH_S + DAYS * DAY
    at, places, kinds = schedule.movements
    count = int(np.searchsorted(at, until_s))
    messages = [schedule.movement(float(at[n]), int(places[n]), int(kinds[n]))[1] for n in range(count)]
    flown = run_pipeline(follow_flights, messages)
    weather = run_pipeline(
        read_weather, [schedule.weather_row(n)[1] for n in range(int(np.searchsorted(schedule.weather_s, until_s)))]
    )
    assert not flown.poison
    names = {Departure: "departures", Landing: "landings", Weather: "weather"}
    events = [(names[type(e)], e) for e in [*flown.events, *weather.events] if type(e) in names]
    return World(events, list(schedule.requests(EPOCH_S + DAY, until_s))[::EVERY])


def served(world: World, tables: dict[str, EventTable], day: int, later_s: float = 0.0) -> list[DecisionMade]:
    """The rows of one day as inference logs them. `later_s`: a fault that looks so far ahead."""
    asked = [a for a in world.asked if EPOCH_S + day * DAY <= a.at_s < EPOCH_S + (day + 1) * DAY]
    at_s = np.array([a.at_s for a in asked]) + later_s
    entities = [entities_of(DEPLOYMENT, a.inputs) for a in asked]
    parts = [
        as_of(
            plan, tables[plan.view.source], [e[plan.view.name] for e in entities], at_s, DEPLOYMENT.feature_delay_s
        ).values
        for plan in PLANS
    ]
    # NB: columns that these views do not fill exist nevertheless, because the length identifies a row.
    rows = np.hstack([np.zeros((len(asked), INPUTS)), *parts]).astype(np.float32)
    applied = {f"{TOPICS[name]}/0": len(table) for name, table in tables.items()}
    answer = FellBack("prior", "no version yet", Score(0, "", 0.26))
    return [
        DecisionMade(
            f"r{n}", DEPLOYMENT.name, a.flight_id, a.at_s, answer, n, row.tobytes(), "bare",
            {view: entity for view, entity in entities[n].items() if entity is not None}, applied,
        )
        for n, (a, row) in enumerate(zip(asked, rows, strict=True))
    ]  # fmt: skip


def window(rows: list[DecisionMade], tables: dict[str, EventTable], day: int) -> WindowClosed:
    from_s, to_s = EPOCH_S + day * DAY, EPOCH_S + (day + 1) * DAY
    found = parity(PROJECT, DEPLOYMENT, tables, TOPICS, rows)
    return WindowClosed(
        DEPLOYMENT.name, from_s, to_s, len(rows), len(rows), 0.2, "PASS",
        parity_rows=found.rows, parity_tiles=found.tiles, parity_as_of=found.as_of, skew=found.skew,
        sources=profile_sources(PROJECT, DEPLOYMENT, tables, from_s, to_s),
    )  # fmt: skip


def opened(known: Findings, closed: WindowClosed) -> list[FindingOpened]:
    """The findings that a window opens."""
    facts = on_window(known, closed, None, closed.to_s).facts
    return [fact for fact in facts if isinstance(fact, FindingOpened)]


def after_two_good_weeks(world: World, tables: dict[str, EventTable]) -> Findings:
    """The monitor's state after all days before the broken one. No finding may have opened on them."""
    return after_days(findings_of(UNTRAINED, None), world, tables, range(1, BROKEN_DAY))


def after_days(known: Findings, world: World, tables: dict[str, EventTable], days: range) -> Findings:
    """The state after these days. None of them may open a finding."""
    for day in days:
        closed = window(served(world, tables, day), tables, day)
        step = on_window(known, closed, None, closed.to_s)
        assert not [fact for fact in step.facts if isinstance(fact, FindingOpened)]
        known = step.state
    return known


def test_a_year_of_real_days_alarms_on_at_most_one_column_day_in_a_thousand() -> None:
    schedule = Schedule()
    flights = schedule.flights.with_columns(day=schedule.flights["departs_min"] // 1440)
    weather = schedule.weather.with_columns(day=schedule.weather["hour"] // 24)
    columns = [(flights, "departure_delay_min"), (flights, "arrival_delay_min")]
    columns += [(weather, name) for name in schedule.weather.columns if name not in ("hour", "origin")]
    judged, alarms = 0, 0
    for frame, name in columns:
        history: list[SourceProfile] = []
        for _, day in frame.sort("day").group_by("day", maintain_order=True):
            values = day[name].cast(float).to_numpy()
            known = np.abs(values[~np.isnan(values)])
            magnitude = float(np.quantile(known, 0.9)) if len(known) else None
            profile = SourceProfile("s", len(values), {name: ColumnProfile(1 - len(known) / len(values), magnitude)})
            broken = judge(history, profile)
            judged, alarms = judged + 1, alarms + sum(found.kind == "contract" for found in broken)
            history += [] if broken else [profile]
    assert judged > 3600
    assert alarms <= judged / 1000, f"{alarms} of {judged} column-days"


@pytest.fixture(scope="module")
def good(world: World) -> dict[str, EventTable]:
    return world.tables()


def broken_sources(world: World, change: Change) -> list[FindingOpened]:
    """The findings on the first day on which the sources changed."""
    day_s = EPOCH_S + BROKEN_DAY * DAY
    tables = world.tables(lambda event, at_s: event if at_s < day_s else change(event, at_s))
    return opened(after_two_good_weeks(world, tables), window(served(world, tables, BROKEN_DAY), tables, BROKEN_DAY))


def test_real_days_without_a_fault_open_nothing(world: World, good: dict[str, EventTable]) -> None:
    after_days(after_two_good_weeks(world, good), world, good, range(BROKEN_DAY, DAYS - 1))


def scheduled(event: msgspec.Struct, at_s: float) -> msgspec.Struct:
    """The event with the scheduled instant instead of the real one, so that it is known before it can be known."""
    delay = getattr(event, "delay_min", None)
    if delay is None:
        return event
    name = "departed_at" if isinstance(event, Departure) else "landed_at"
    stamp = getattr(event, name).timestamp() - delay * 60
    return msgspec.structs.replace(
        event, **{name: type(getattr(event, name)).fromtimestamp(stamp, getattr(event, name).tzinfo)}
    )


def test_a_view_stamped_with_the_schedule_in_training_is_caught_by_monitor_and_trainer(
    world: World, good: dict[str, EventTable]
) -> None:
    rows = served(world, good, BROKEN_DAY)
    offline = world.tables(scheduled)
    (finding,) = opened(findings_of(UNTRAINED, None), window(rows, offline, BROKEN_DAY))
    assert finding.kind == "skew"
    assert finding.about.split(".")[0] in {plan.view.name for plan in PLANS}
    assert "delay" in finding.about or "3h" in finding.about
    compared = parity(PROJECT, DEPLOYMENT, offline, TOPICS, rows)
    gate = judge_parity(compared.rows, compared.tiles, compared.as_of, compared.skew)
    assert gate is not None
    assert gate.verdict == "FAIL"
    assert finding.about in gate.detail


def test_one_ulp_in_one_feature_of_one_row_is_caught(world: World, good: dict[str, EventTable]) -> None:
    rows = served(world, good, BROKEN_DAY)
    values = np.frombuffer(rows[7].row, "<f4").copy()
    place = INPUTS + NAMES.index("dest.delay_24h")
    values[place] = np.nextafter(values[place], np.float32(np.inf))
    rows[7] = msgspec.structs.replace(rows[7], row=values.tobytes())
    (finding,) = opened(findings_of(UNTRAINED, None), window(rows, good, BROKEN_DAY))
    assert (finding.kind, finding.about) == ("skew", "dest.delay_24h")
    assert "the last bits differ" in finding.summary


def test_an_hour_of_look_into_the_future_is_named_as_such(world: World, good: dict[str, EventTable]) -> None:
    rows = served(world, good, BROKEN_DAY, later_s=3600.0)
    (finding,) = opened(findings_of(UNTRAINED, None), window(rows, good, BROKEN_DAY))
    assert "the values are those of 60 minutes later: a look into the future" in finding.summary


def test_another_unit_in_serving_only_is_named_with_its_factor(world: World, good: dict[str, EventTable]) -> None:
    rows = served(world, good, BROKEN_DAY)
    place = INPUTS + NAMES.index("origin.delay_24h")
    changed = []
    for row in rows:
        values = np.frombuffer(row.row, "<f4").copy()
        values[place] *= 60
        changed.append(msgspec.structs.replace(row, row=values.tobytes()))
    (finding,) = opened(findings_of(UNTRAINED, None), window(changed, good, BROKEN_DAY))
    assert finding.about == "origin.delay_24h"
    assert "a factor of 60: another unit" in finding.summary


def test_another_unit_in_the_source_is_caught_though_serving_and_training_agree(world: World) -> None:
    def in_seconds(event: msgspec.Struct, at_s: float) -> msgspec.Struct:
        delay = getattr(event, "delay_min", None)
        return event if delay is None else msgspec.structs.replace(event, delay_min=delay * 60)

    found = broken_sources(world, in_seconds)
    assert {(f.kind, f.about) for f in found} == {
        ("contract", "departures.delay_min"),
        ("contract", "landings.delay_min"),
    }
    assert "another unit?" in found[0].summary


def test_a_source_that_stops_is_caught(world: World) -> None:
    (finding,) = broken_sources(world, lambda event, at_s: None if isinstance(event, Weather) else event)
    assert (finding.kind, finding.about) == ("traffic", "weather")
    assert "has stopped" in finding.summary


def test_a_column_that_goes_null_is_caught(world: World) -> None:
    def blind(event: msgspec.Struct, at_s: float) -> msgspec.Struct:
        return msgspec.structs.replace(event, visibility_miles=None) if isinstance(event, Weather) else event

    (finding,) = broken_sources(world, blind)
    assert (finding.kind, finding.about) == ("contract", "weather.visibility_miles")
    assert "goes null: 100% of its values, usually 0%" in finding.summary


def test_late_events_and_lag_are_distinguished(world: World, good: dict[str, EventTable]) -> None:
    rows = served(world, good, BROKEN_DAY)
    table = good["departures"]
    day_s = EPOCH_S + BROKEN_DAY * DAY
    seen = int(np.searchsorted(table.available, day_s))
    lagging = {name: t.select(t.available < day_s) for name, t in good.items()}
    behind = [replace_applied(row, lagging) for row in served(world, lagging, BROKEN_DAY)]
    (lag,) = opened(findings_of(UNTRAINED, None), window(behind, good, BROKEN_DAY))
    assert "lag: features came up to" in lag.summary
    # The same events in another order: those of one hour arrive after all others.
    delayed = (table.available >= day_s + 36_000) & (table.available < day_s + 39_600)
    order = np.concatenate([np.flatnonzero(~delayed), np.flatnonzero(delayed)])
    columns = {name: values[order] for name, values in table.columns().items()}
    columns["_offset"] = np.arange(len(order))
    late = good | {"departures": EventTable(table.source, columns)}
    first = late["departures"].select(np.arange(len(order)) < (~delayed).sum())
    without = [
        replace_applied(row, late | {"departures": first})
        for row in served(world, late | {"departures": first}, BROKEN_DAY)
    ]
    (finding,) = opened(findings_of(UNTRAINED, None), window(without, late, BROKEN_DAY))
    assert "late events: they came after newer ones" in finding.summary
    assert (len(rows) > 0, seen > 0) == (True, True)


def replace_applied(row: DecisionMade, tables: dict[str, EventTable]) -> DecisionMade:
    applied = {f"{TOPICS[name]}/0": int(t.offsets.max()) + 1 for name, t in tables.items()}
    return msgspec.structs.replace(row, applied=applied)


def test_differences_that_fit_nothing_are_called_what_they_are() -> None:
    rng = np.random.default_rng(0)
    assert (
        cause_of(rng.random(9).astype("f4"), rng.random(9).astype("f4"))
        == "online and offline code or definitions differ"
    )
