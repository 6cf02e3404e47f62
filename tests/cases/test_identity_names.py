"""Cases 16 and 17: names that Kafka or HTTP cannot carry, or that nobody can read, are refused with their line. A project keeps
its names until they are released."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from headrace.clock import SystemClock
from headrace.errors import Misconfigured
from headrace.events.definition import ProjectDefinition
from headrace.events.project import ProjectApplied
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import (
    Binary,
    Category,
    Count,
    Deployment,
    FeatureView,
    Key,
    Mean,
    Multiclass,
    Number,
    Project,
    RawStream,
    Source,
    prior,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.lines import locate
from headrace.project.owners import taken
from headrace_cli.commands.project import rows_of
from headrace_cli.projects.apply import apply_project
from headrace_cli.projects.release import release, without
from headrace_cli.session import Session


class Event(msgspec.Struct):
    at: float
    who: str
    x: float


def source(name: str = "s") -> Source:
    return Source(name, Event, "at", "who")


def viewed(name: str, feature: str = "n") -> Project:
    origin = source()
    return Project("p", [], sources=[origin], views=[FeatureView(name, origin, "who", {feature: Count("3h")})])


def deployed(name: str = "d", unit: str = "u", **more: Any) -> Project:
    return Project("p", [Deployment(name, unit, more.pop("inputs", [Number("x")]), **more)])


NAMED: dict[str, Callable[[str], Project]] = {
    "deployment": deployed,
    "project": lambda name: Project(name, [Deployment("d", "u", [Number("x")])]),
    "source": lambda name: Project("p", [], sources=[source(name)]),
    "raw stream": lambda name: Project("p", [], raw=[RawStream(name)]),
    "view": viewed,
}
# What people read and JSON carries may be any visible text.
CALLED: dict[str, Callable[[str], Project]] = {
    "feature": lambda name: viewed("v", name),
    "unit": lambda name: deployed(unit=name),
    "number": lambda name: deployed(inputs=[Number(name)]),
    "category": lambda name: deployed(inputs=[Category(name)]),
    "label": lambda name: deployed(label=Binary(name, "1h")),
    "class": lambda name: deployed(label=Binary("y", "1h", classes=(name, "two"))),
    "one of many classes": lambda name: deployed(label=Multiclass("y", ("one", "two", name), "1h")),
}
NOBODYS = ["", " ", "a ", " a", "a\n", "a\x00b", "\ud800", "a" * 300]
NO_NAMES = [*NOBODYS, "a/b", "a b", "é", ".", "..", "-a", "_a", "a" * 101, "a#b", "a%2fb", "a,b", 'a"b']


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_a_name_that_topics_and_addresses_cannot_carry_is_refused_in_a_sentence(kind: str, name: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        compile_project(NAMED[kind](name))
    assert kind in str(refused.value) or "holds half of a surrogate pair" in str(refused.value)
    assert len(str(refused.value)) < 330


@pytest.mark.parametrize("kind", CALLED)
@pytest.mark.parametrize("name", NOBODYS, ids=repr)
def test_a_name_that_nobody_can_see_or_write_is_refused_in_a_sentence(kind: str, name: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        compile_project(CALLED[kind](name))
    assert len(str(refused.value)) < 330


@pytest.mark.parametrize("name", ["a", "A-1", "flight-delay", "v2.1", "a_b", "7", "a" * 100])
def test_ordinary_names_are_taken(name: str) -> None:
    for made in (NAMED | CALLED).values():
        compile_project(made(name))


@pytest.mark.parametrize("name", ["sepal length (cm)", "größe", "a/b", "価格", "x,y", "yes/no"])
def test_inputs_labels_and_classes_are_called_what_their_data_calls_them(name: str) -> None:
    for made in CALLED.values():
        compile_project(made(name))


@pytest.mark.parametrize(
    ("project", "message"),
    [
        (deployed(inputs=[Number("x", 5, 1)]), "x must lie in low..high, got low 5 above high 1"),
        (deployed(label=Binary("y", "1h"), fallback=[prior(1.5)]), "prior is a probability and must lie in 0..1, got 1.5"),
        (deployed(inputs=[Number("x", low=1e39)]), "low of x must be within float32"),
        (
            Project("p", [], sources=[source()], views=[FeatureView("v", source(), "who", {"m": Mean("x", "3h", default=1e39)})]),
            "the default of m must be within float32",
        ),
        (
            Project("p", [], sources=[source("a.b"), source("a_b")]),
            "source a_b: its topic would differ from that of 'a.b' in `.` and `_` alone, which Kafka refuses",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(project: Project, message: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        compile_project(project)
    assert message in str(refused.value)


def test_an_input_may_not_have_the_name_of_a_feature() -> None:
    origin = source()
    view = FeatureView("v", origin, "who", {"n": Count("3h")})
    both = Deployment("d", "u", [Key("who"), Number("v.n")], [view.by("who")])
    with pytest.raises(Misconfigured, match=r"input 'v\.n' has the name of a feature of view v"):
        compile_project(Project("p", [both], sources=[origin], views=[view]))


def test_a_refused_name_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from headrace.project import *\n\n\nodd = RawStream(\n    'My Feed/é')\nbad = Deployment('a/b', 'u', [])\n"
    )
    for kind, name, line in (("raw stream", "My Feed/é", 4), ("deployment", "a/b", 6)):
        with pytest.raises(Misconfigured) as refused:
            compile_project(NAMED[kind](name))
        assert locate(str(refused.value), [file]) in (f"{file}:{line}", f"{file}:{line + 1}")


@pytest.mark.parametrize("namespace", ["a/b", " ", "é", "-a", "a" * 101, "a b"])
def test_a_namespace_that_topics_cannot_carry_is_refused(namespace: str) -> None:
    with pytest.raises(Misconfigured, match="HEADRACE_NAMESPACE: namespace must be at most 100 letters"):
        Settings.load({"HEADRACE_NAMESPACE": namespace})


async def test_the_longest_names_make_topics_and_a_pair_that_differs_in_dots_alone_does_not(
    kafka_log: KafkaLog,
) -> None:
    topics = Topics.load(secrets.token_hex(50))
    project = compile_project(Project("p", [], raw=[RawStream("r" * 100)], sources=[source("s." + "a" * 98)]))
    assert Settings.load({"HEADRACE_NAMESPACE": topics.namespace}).namespace == topics.namespace
    own = [
        spec
        for spec in topics.specs(project)
        if spec.name in (topics.of_raw("r" * 100), topics.of_source("s." + "a" * 98))
    ]
    assert sorted(await ensure_topics(kafka_log, own)) == sorted(spec.name for spec in own)
    assert len(own) == 2
    like = msgspec.structs.replace(
        project, sources=(msgspec.structs.replace(project.sources[0], name="s_" + "a" * 98),)
    )
    again = [spec for spec in topics.specs(like) if spec.name == topics.of_source("s_" + "a" * 98)]
    with pytest.raises(Exception, match="InvalidTopicError"):
        await ensure_topics(kafka_log, again)


# Releasing


@pytest_asyncio.fixture
async def opened(memory_log: MemoryLog) -> AsyncIterator[Session]:
    topics = Topics.load()
    await ensure_topics(memory_log, topics.specs(None))
    codec = Codec(topics)
    projects = Projects(memory_log, codec, topics)
    await projects.start()
    following = asyncio.create_task(projects.run(stop := asyncio.Event()))
    yield Session(memory_log, topics, codec, projects, SystemClock())  # ty: ignore[invalid-argument-type] - the log in memory
    stop.set()
    await following


FIRST = """
import msgspec
from headrace.project import *


class Event(msgspec.Struct):
    at: float
    who: str


s = Source("s", Event, "at", "who")
v = FeatureView("v", s, "who", {"n": Count("3h")})
project = Project("NAME", [Deployment("d", "u", [Key("who")], [v.by("who")]), Deployment("e", "u", [Number("x")])],
    sources=[s], views=[v])
"""
SECOND = 'from headrace.project import *\n\nproject = Project("NAME", [Deployment("e", "u", [Number("x")])])\n'


def written(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(text.replace("NAME", name))
    return str(path)


async def test_names_are_the_first_projects_until_it_releases_them(
    opened: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_APPLIED_FILE", str(tmp_path / "applied.json"))
    suffix = secrets.token_hex(4)
    first, second = f"first_{suffix}", f"second_{suffix}"
    mine, other = written(tmp_path, first, FIRST), written(tmp_path, second, SECOND)
    await apply_project(opened, mine)
    await opened.projects.catch_up()
    with pytest.raises(Misconfigured) as refused:
        await apply_project(opened, other)
    way = f"choose another name, or free it (`headrace project release {first} --only deployment/e`)"
    assert str(refused.value).endswith(f"deployment e belongs to project {first}, which declared it first: {way}")

    done = await release(opened, first, ["deployment/e"])
    await opened.projects.catch_up()
    assert done == {"project": first, "freed": ["deployment/e"], "deleted": False}
    await apply_project(opened, other)
    await opened.projects.catch_up()
    assert {p.name: d.name for p, d in opened.projects.deployments()} == {first: "d", second: "e"}
    with pytest.raises(Misconfigured, match=f"deployment e belongs to project {second}"):
        await apply_project(opened, mine)

    done = await release(opened, first, [])
    await opened.projects.catch_up()
    assert done == {"project": first, "freed": ["source/s", "view/v", "deployment/d"], "deleted": True}
    assert [row["project"] for row in rows_of(opened.projects)] == [second]
    await release(opened, second, [])
    await opened.projects.catch_up()
    await apply_project(opened, mine)
    await opened.projects.catch_up()
    assert list(opened.projects.applied) == [first]


async def test_who_names_a_part_is_shown_the_command(
    opened: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_APPLIED_FILE", str(tmp_path / "applied.json"))
    name = f"part_{secrets.token_hex(4)}"
    await apply_project(opened, written(tmp_path, name, SECOND))
    await opened.projects.catch_up()
    with pytest.raises(
        Misconfigured, match=f"a deployment of project {name}: `headrace project release {name} --only 'deployment/e'`"
    ):
        await release(opened, "e", [])
    with pytest.raises(Misconfigured, match=rf"no project is called 'nope' \(applied: {name}\)"):
        await release(opened, "nope", [])


def test_only_what_nothing_else_needs_is_released() -> None:
    origin = source()
    view = FeatureView("v", origin, "who", {"n": Count("3h")})
    both = Deployment("d", "u", [Key("who")], [view.by("who")])
    project: ProjectDefinition = compile_project(Project("p", [both], sources=[origin], views=[view]))
    with pytest.raises(Misconfigured, match=r"needs it \(.*view.*\): free that as well"):
        without(project, ["view/v"])
    with pytest.raises(Misconfigured, match="declares no 'view/w'; it declares source/s, view/v, deployment/d"):
        without(project, ["view/w"])
    left = without(project, ["deployment/d", "view/v", "view/v"])
    assert [found.name for found in left.sources] == ["s"]
    assert (left.views, left.deployments) == ((), ())


def test_a_topic_that_kafka_confuses_with_anothers_is_refused_by_name() -> None:
    ours = compile_project(Project("ours", [], sources=[source("a.b")]))
    applied = ProjectApplied("ours", "", "", ours, 1.0)
    theirs = compile_project(Project("theirs", [], sources=[source("a_b")]))
    assert taken(ours, [applied]) is None
    assert taken(theirs, [applied]) == (
        "source a_b would have a topic that Kafka cannot distinguish from that of source a.b of project ours: choose another name"
    )
    assert taken(compile_project(Project("theirs", [], raw=[RawStream("a_b")])), [applied]) is None
