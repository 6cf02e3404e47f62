"""`headrace monitor windows`: closed windows with their figures, open ones with the share of labels that came."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from headrace.clock import SystemClock
from headrace.events.charts import ChartPoint, ColumnSeen, Estimated
from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import MonitorState, VersionQuality, WindowClosed, WindowEstimated
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Multiclass, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.evidence import windows_shown
from headrace_cli.evidence.windows import OpenWindow, Watched, plain_windows, read_windows
from headrace_cli.session import Session, plain

DAY, HOUR = 86_400.0, 3600.0
ESTIMATE = Estimated(1, "auc", 0.71, 0.68, 0.74, "cbpe")
CLOSED = WindowClosed(
    "d", 0.0, DAY, 100, 98, 0.25, "PASS",
    qualities=(
        VersionQuality(1, "champion", 60, 0.41, 0.4, 0.72, 0.2, metrics={"brier": 0.2, "pinball@.9": 0.3, "f1@c=U@A": 0.5, "rows@c=U@A": 31.0}),
        VersionQuality(2, "shadow", 60, 0.39, 0.4, 0.74, 0.2),
        VersionQuality(0, "prior", 38, 0.6, 0.6, None, 0.25),
    ),
    label_delay_s=7800.0,
    charts=(
        ChartPoint("ranking", 1, 0.72, 0.01, 60, "c=UA", 0.75, 0.02, 3.0, 180.0, 0.05, 7),
        ChartPoint("base_rate", 1, 0.25, 0.01, 60),
    ),
    columns=(
        ColumnSeen("x", 1, 100, 0.025, 0.4, 0.2, 9.0, 0.001, True, 0.0, b"long", 98, 1_200, b"long"),
        ColumnSeen("y", 1, 100, 0.0, 0.01, 0.02, 1.0, 0.5, False),
    ),
    estimates=(Estimated(1, "auc", 0.7, 0.66, 0.75, "cbpe", 0.72), Estimated(3, "auc", 0.6, 0.5, 0.7, "cbpe")),
)  # fmt: skip


async def session_of(*deployments: Deployment) -> Session:
    """A session on a log in memory with these deployments."""
    clock, topics = SystemClock(), Topics.load()
    log, codec = MemoryLog(clock), Codec(topics)
    definition = compile_project(Project("p", list(deployments)))
    await ensure_topics(log, topics.specs(definition))
    session = Session(log, topics, codec, Projects(log, codec, topics), clock)  # ty: ignore[invalid-argument-type]  # in memory
    applied = ProjectApplied("p", digest_of(definition), "", definition, clock.now_s())
    await put(session, "project.definitions", applied)
    await session.projects.start()
    return session


async def put(session: Session, base: str, event: Any, at_s: float = 0.0, key: str = "p") -> None:
    producer = await session.log.producer()
    envelope = Envelope(f"{base}-{at_s}-{getattr(event, 'unit', '')}", "", "t", at_s)
    await producer.send([out(session.topics.name(base), key, event, envelope)])
    await producer.close()


async def asked(session: Session, name: str, at_s: float) -> None:
    unit = f"{name}-{at_s}"
    answer = Served(Score(1, "m", 0.4))
    await put(session, "inference.decisions", DecisionMade(unit, name, unit, at_s, answer, 0), at_s)


async def test_open_windows_have_the_share_of_labels_that_came_and_what_is_expected() -> None:
    declared = Deployment("d", "u", [Number("x")], label=Binary("y", horizon="3d"))
    session = await session_of(declared, Deployment("e", "u", [Number("x")], label=Binary("y", horizon="3d")))
    for day in (0.5, 1.2, 1.4, 1.6, 1.8, 2.5):
        await asked(session, "d", day * DAY)
    await asked(session, "e", 1.5 * DAY)
    for day in (0.5, 1.2, 1.4):
        await put(session, "inference.outcomes", OutcomeObserved("d", f"d-{day * DAY}", 1.0), day * DAY + HOUR)
    await put(session, "inference.outcomes", OutcomeObserved("d", f"d-{1.6 * DAY}", 1.0), 9 * DAY)  # beyond the horizon
    await put(session, "monitor.windows", CLOSED)
    await put(session, "monitor.windows", WindowEstimated("d", DAY, 2 * DAY, 4, 0, (ESTIMATE,)))
    found = await read_windows(session, "d", 7)
    assert (found.closed, found.window_s) == ((CLOSED,), DAY)
    assert found.open == (
        OpenWindow(DAY, 2 * DAY, 4, 2, True, (ESTIMATE,)),
        OpenWindow(2 * DAY, 3 * DAY, 1, 0, False),
    )
    found = await read_windows(session, "d", 1)
    assert ([one.from_s for one in found.open], found.open_count) == ([2 * DAY], 2)
    assert [one.requests for one in (await read_windows(session, "e", 7)).open] == [1]


async def test_what_is_open_is_read_from_where_the_monitor_would_begin_after_a_restart() -> None:
    session = await session_of(Deployment("d", "u", [Number("x")], label=None))
    for hour in range(1, 5):
        await asked(session, "d", hour * HOUR)
    topic = session.topics.name("inference.decisions")
    (place,) = [tp for tp in await session.log.partitions(topic) if (await session.log.end_offsets([tp]))[tp]]
    memory = MonitorState("d", {f"{place.topic}/{place.partition}": 3}, 0.0, None, {})
    await put(session, "monitor.state", memory, key="d")
    assert [(one.requests, one.labelled) for one in (await read_windows(session, "d", 7)).open] == [(1, 0)]


def printed(found: Watched, monkeypatch: pytest.MonkeyPatch, show: Callable[[Watched], None] | None = None) -> str:
    wide = Console(width=170, record=True, file=io.StringIO())
    monkeypatch.setattr(windows_shown, "console", wide)
    monkeypatch.setattr("headrace_cli.terminal.render.console", wide)
    (show or windows_shown.show_windows)(found)
    return wide.export_text()


def test_a_screen_has_windows_slices_charts_and_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = OpenWindow(DAY, 2 * DAY, 40, 10, True, (ESTIMATE,))
    coming = OpenWindow(2 * DAY, 3 * DAY, 0, 0, False)
    text = printed(Watched("d", DAY, (CLOSED,), (waiting, coming), 9, 2), monkeypatch)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "d windows of 1d: 1 of 9 closed, 2 open, times in UTC"
    assert (
        "1970-01-01 00:00 PASS 100 98 % 1 champion 60 log loss .41, auc .72, brier .2, pinball@.9 .3 auc .7 (.66 to .75) became .72"
        in lines
    )
    assert "2 shadow 60 log loss .39, auc .74" in lines
    assert "prior 38 log loss .6" in lines
    assert "3 auc .6 (.5 to .7)" in lines
    assert "1970-01-02 00:00 UNMEASURED 40 25 % 1 open: waits for its labels auc .71 (.68 to .74)" in lines
    assert "1970-01-03 00:00 UNMEASURED 0 - open: its requests still come" in lines
    assert "c=U@A 1 champion 31 f1 .5" in lines
    assert "ranking of c=UA 1 .72 ± .01 .75 ± .02 3 180 .05 within 7 windows" in lines
    assert "base rate 1 .25 ± .01 - 0 - -" in lines
    assert "labels come 2 h 10 min after their request in the median" in lines
    assert "1 of 2 inputs and scores moved away from the training rows: x (psi .4)" in lines


def test_a_chart_of_a_class_has_the_name_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = tuple(ChartPoint(f"base_rate.{place}", 1, 0.25, 0.01, 60) for place in range(3))
    closed = structs.replace(CLOSED, charts=shares)
    text = printed(Watched("d", DAY, (closed,), (), 1, 0, ("cat", "dog", "elk")), monkeypatch)
    assert [name in text for name in ("base rate of cat ", "base rate of dog ", "base rate of elk ")] == [True] * 3


async def test_windows_bring_the_names_of_classes() -> None:
    label = Multiclass("kind", classes=("cat", "dog", "elk"), horizon="1h")
    session = await session_of(Deployment("d", "u", [Number("x")], label=label))
    assert (await read_windows(session, "d", 7)).classes == ("cat", "dog", "elk")


def test_the_columns_of_the_newest_window_that_compared_any_are_a_screen_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = WindowClosed("d", DAY, 2 * DAY, 10, 0, None, "UNMEASURED", unmeasured="no label has come")
    text = printed(Watched("d", DAY, (CLOSED, bare), (), 2, 0), monkeypatch, windows_shown.show_inputs)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "d window from 1970-01-01 00:00, times in UTC"
    assert lines[2:] == ["x 1 100 2.5 % 98 1,200 .4 .2 .001 moved", "y 1 100 0.0 % - - .01 .02 .5"]
    text = printed(Watched("d", DAY, (bare,), (), 1, 0), monkeypatch, windows_shown.show_inputs)
    assert text.startswith("no window has compared columns yet")


def test_a_window_without_figures_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = WindowClosed("d", 0.0, DAY, 10, 0, None, "UNMEASURED", unmeasured="no label has come")
    text = " ".join(printed(Watched("d", DAY, (bare,), (), 1, 0), monkeypatch).split())
    assert "1970-01-01 00:00 UNMEASURED 10 0 % no label has come" in text


def test_json_has_the_whole_windows_without_sketches() -> None:
    found = plain_windows(Watched("d", DAY, (CLOSED,), (OpenWindow(DAY, 2 * DAY, 40, 10, True),), 1, 1), plain)
    (closed,), (waiting,) = found["closed"], found["open"]
    assert (closed["labelled_share"], closed["qualities"][0]["auc"], len(closed["columns"])) == (0.98, 0.72, 2)
    assert {column[name] for column in closed["columns"] for name in ("sketch", "distinct_sketch")} == {""}
    assert (closed["columns"][0]["distinct"], closed["columns"][0]["usual_distinct"]) == (98, 1_200)
    assert (waiting["verdict"], waiting["labelled_share"]) == ("UNMEASURED", 0.25)
