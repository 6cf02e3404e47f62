"""`headrace outcome send|import|list` on the log in memory: each row is written once however often a file is imported, bad rows
are reported with their line, and `list` shows what became of each outcome."""

from pathlib import Path

import polars as pl
import pytest
import pytest_asyncio

from headrace.clock import SystemClock
from headrace.errors import Misconfigured
from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Multiclass, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.outcomes.files import Wanted, import_file, newest, send_one
from headrace_cli.session import Session

X = [Number("x")]
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("late", "flight", X, label=Binary("late", "1h")),
            Deployment("kind", "pet", X, label=Multiclass("kind", classes=("01", "02"), horizon="1h")),
            Deployment("plain", "thing", X),
        ],
    )
)
NOON = 1_364_817_600.0


@pytest_asyncio.fixture
async def session() -> Session:
    topics, clock = Topics.load(), SystemClock()
    log, codec = MemoryLog(clock), Codec(topics)
    await ensure_topics(log, topics.specs(PROJECT))
    applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
    log.append(out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
    projects = Projects(log, codec, topics)
    await projects.start()
    return Session(log, topics, codec, projects, clock)  # type: ignore[arg-type]


async def observed(session: Session) -> list[tuple]:
    found = await session.all_of("inference.outcomes")
    return sorted((m.event.unit, m.event.label, m.envelope.time_s - NOON) for m in found)


def csv(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


async def test_a_file_is_imported_once_however_often_and_an_interrupted_one_goes_on(
    session: Session, tmp_path: Path
) -> None:
    head = "flight,late,landed\n"
    rows = [f"{n},{n % 2},2013-04-01T12:00:{n:02}Z\n" for n in range(40)]
    done = await import_file(
        session, Wanted(csv(tmp_path, head + "".join(rows[:25])), "late", "flight", "late", "landed")
    )
    assert (done.rows, done.sent, done.there_already) == (25, 25, 0)
    whole = Wanted(csv(tmp_path, head + "".join(rows[:1] + rows)), "late", "flight", "late", "landed")
    done = await import_file(session, whole)
    assert (done.rows, done.sent, done.there_already, done.bad) == (41, 15, 26, [])
    assert await observed(session) == sorted((str(n), float(n % 2), float(n)) for n in range(40))


async def test_a_bad_row_is_reported_with_its_line_and_the_others_are_sent_unless_it_is_strict(
    session: Session, tmp_path: Path
) -> None:
    text = 'u,y,at\na,1,2013-04-01T12:00:00Z\nb,7,2013-04-01\nc,1,yesterday\n"d\ne",0,1364817600.5\n,1,2013-04-01\nf,,2013-04-01\ng,1\nh,1,\n'
    wanted = Wanted(csv(tmp_path, text), "late", "u", "y", "at")
    with pytest.raises(Misconfigured, match="nothing is imported: 6 bad rows, the first: line 3: the label of 'late'"):
        await import_file(session, Wanted(wanted.path, "late", "u", "y", "at", is_strict=True))
    assert await observed(session) == []
    done = await import_file(session, wanted)
    assert (done.rows, done.sent) == (8, 2)
    assert [sentence.partition(": ")[0] for sentence in done.bad] == [f"line {n}" for n in (3, 4, 7, 8, 9, 10)]
    for sentence, why in zip(
        done.bad, ("must be 0 or 1, got 7.0", "must be an instant", "unit is missing", "label is missing", "it has 2 fields", "at is missing"), strict=True
    ):  # fmt: skip
        assert why in sentence


async def test_a_parquet_file_with_ids_corrections_and_classes_that_look_like_numbers(
    session: Session, tmp_path: Path
) -> None:
    frame = pl.DataFrame(
        {
            "pet": [7, 7, 8], "kind": ["01", "02", "01"], "at": [NOON, NOON + 60, NOON], "request": ["r1", "r1", None],
            "id": ["a", "b", "a"], "fixes": [None, "a", None],
        }
    )  # fmt: skip
    frame.write_parquet(tmp_path / "k.parquet")
    wanted = Wanted(tmp_path / "k.parquet", "kind", "pet", "kind", "at", "request", "fixes", "id")
    assert (await import_file(session, wanted)).sent == 3
    assert (await import_file(session, wanted)).sent == 0
    assert await observed(session) == [("7", "01", 0.0), ("7", "02", 60.0), ("8", "01", 0.0)]
    found = {(m.event.unit, m.envelope.id): m.event for m in await session.all_of("inference.outcomes")}
    assert (found["7", "b"].corrects, found["7", "b"].request_id) == ("a", "r1")


@pytest.mark.parametrize(
    ("name", "why"),
    [("nobody", "no project declares the deployment 'nobody'"), ("plain", "'plain' declares no label")],
)
async def test_a_deployment_that_takes_none_is_refused_with_those_that_do(
    session: Session, tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(Misconfigured, match=f"{why}.*those that take outcomes: kind, late|{why}.*late, kind"):
        await import_file(session, Wanted(csv(tmp_path, "u,y,at\n"), name, "u", "y", "at"))


async def test_a_column_that_is_not_there_is_named_with_those_that_are(session: Session, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no column labl"):
        await import_file(session, Wanted(csv(tmp_path, "u,label,at\n"), "late", "u", "labl", "at"))


async def test_what_became_of_each_outcome_is_listed(session: Session) -> None:
    decision = DecisionMade("r1", "late", "AA1", NOON, Served(Score(1, "m", 0.5)), 0)
    topic = session.topics.name("inference.decisions")
    session.log.append(out(topic, "AA1", decision, Envelope("d", "", "test", NOON)))  # type: ignore[attr-defined]
    sent = [
        {"unit": "AA1", "label": "1", "at": NOON + 60, "id": "first"},
        {"unit": "AA1", "label": "0", "at": NOON + 90},
        {"unit": "AA1", "label": "0", "at": NOON + 120, "corrects": "first"},
        {"unit": "AA1", "label": "0", "at": NOON + 3601},
        {"unit": "BB2", "label": "0", "at": NOON + 60},
        {"unit": "AA1", "label": "0", "at": NOON + 60, "corrects": "nobody"},
    ]
    for number, given in enumerate(sent):
        await send_one(session, "late", given, f"o{number}")
    rows, counts = await newest(session, "late", 2)
    assert [row["became"] for row in rows] == ["used", "beyond horizon"]
    assert counts == {"used": 2, "second": 1, "beyond_horizon": 1, "of_no_request": 1, "corrects_nothing": 1}
    with pytest.raises(Misconfigured, match="must be 0 or 1, got 'maybe'"):
        await send_one(session, "late", {"unit": "AA1", "label": "maybe"}, "o")
