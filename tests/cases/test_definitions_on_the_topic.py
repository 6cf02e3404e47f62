"""Case 17: definitions that reach the topic by another way than `apply` are believed or ignored, and stop nobody."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases.definitions_scene import FEED, LANDINGS, Landing, project

from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.project import ProjectApplied
from headrace.features.plan import plan_view
from headrace.features.rows import RowMaker, bare_signature
from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import (
    Deployment,
    Key,
    Project,
    Source,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace.project.rules import names_of

# ---- definitions that reach the topic by another way

TOPICS = Topics.load()
TOPIC = TOPICS.name("project.definitions")
GOOD = compile_project(project())


class Reader:
    """The projects as a service reads them, record by record."""

    def __init__(self) -> None:
        self.codec = Codec(TOPICS)
        self.projects = Projects(MemoryLog(), self.codec, TOPICS)
        self.received: list[str] = []
        self.projects.listen(lambda applied: self.received.append(applied.name))
        self.offset = 0

    def read(self, value: bytes | None, key: bytes = b"p", headers: Any = (("ce_type", b"project.applied"),)) -> None:
        self.offset += 1
        view = self.projects._view
        view._take(Record(TOPIC, 0, self.offset, key, value, headers, 0))

    def apply(self, definition: ProjectDefinition, at_s: float, **claims: float) -> None:
        event = ProjectApplied(definition.name, digest_of(definition), "", definition, at_s, claims=claims)
        self.read(msgspec.msgpack.encode(event), definition.name.encode())


def use_all_of_it(projects: Projects) -> None:
    """Do what services do with the definitions that they accept."""
    for definition in projects.definitions:
        for found in definition.views:
            plan_view(definition, found.name)
        for found in definition.sources:
            event_struct(found)
        for found in definition.deployments:
            RowMaker(found, bare_signature(definition, found))
        TOPICS.specs(definition)


WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.sampled_from([0, -1, 1e300, "", "a/b", "é" * 300, "\x00", [], {}, [[]], ["+"], ["text"], b"\xff", 10**12]),
    st.text(max_size=5),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLAIN = msgspec.msgpack.decode(msgspec.msgpack.encode(GOOD))
PLACES = places(PLAIN)


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), WEIRD), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES)
def test_a_definition_with_odd_values_is_believed_or_ignored_and_stops_nobody(changes: Any) -> None:
    believe_or_ignore(changes)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES)
def test_thousands_of_definitions_with_odd_values_stop_nobody(changes: Any) -> None:
    believe_or_ignore(changes)


def believe_or_ignore(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    definition = copy.deepcopy(PLAIN)
    for path, value in changes:
        place = definition
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (TypeError, IndexError, KeyError):
            continue  # an earlier change removed it
    event = {"name": "p", "digest": "", "reference": "", "definition": definition, "applied_at_s": 5.0}
    reader = Reader()
    reader.read(msgspec.msgpack.encode(event))
    assert len(reader.projects.applied) + len(reader.projects.refused) == 1
    use_all_of_it(reader.projects)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=20), st.binary(max_size=20))
def test_bytes_that_are_no_definition_are_reported_and_the_other_projects_go_on(
    value: bytes, key: bytes, header: bytes
) -> None:
    reader = Reader()
    reader.apply(GOOD, 1.0)
    reader.read(value, key, (("ce_type", b"project.applied"), ("ce_time", header), ("ce_origin", header)))
    assert [found.name for found in reader.projects.definitions] == ["p"]
    assert reader.projects.refused


def test_a_type_that_is_not_known_is_reported_and_ends_nobody() -> None:
    reader = Reader()
    reader.apply(GOOD, 1.0)
    reader.read(b"\x80", headers=(("ce_type", b"project.renamed"),))
    assert [found.name for found in reader.projects.definitions] == ["p"]
    assert any("unknown type 'project.renamed'" in why for why in reader.projects.refused.values())


def test_a_broken_change_of_a_project_leaves_it_as_it_was_and_a_right_one_mends_it() -> None:
    reader = Reader()
    reader.apply(GOOD, 1.0)
    late = GOOD.deployments[0]
    reader.apply(
        msgspec.structs.replace(GOOD, deployments=(msgspec.structs.replace(late, evaluation_window_s=0.0),)), 2.0
    )
    assert "evaluation_window" in reader.projects.refused["p"]
    assert reader.projects.definitions == [GOOD]
    reader.apply(GOOD, 3.0)
    assert reader.projects.refused == {}


def other(name: str, **parts: Any) -> ProjectDefinition:
    return compile_project(Project(name, **{"deployments": [Deployment("d", "u", [Key("k")])]} | parts))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (other("q", deployments=[Deployment("late", "u", [Key("k")])]), "deployment late belongs to project p"),
        (other("q", sources=[LANDINGS]), "source landings belongs to project p"),
        (other("q", raw=[FEED]), "raw stream feed belongs to project p"),
        (other("q", sources=[Source("s", Landing, "at", "carrier")]), None),
    ],
)
def test_the_later_project_that_declares_a_name_of_anothers_is_ignored_in_whatever_order_it_is_read(
    later: ProjectDefinition, message: str | None
) -> None:
    for order in (0, 1):
        reader = Reader()
        for definition, at_s in [(GOOD, 1.0), (later, 2.0)][:: -1 if order else 1]:
            reader.apply(definition, at_s)
        assert ("q" in reader.projects.applied) == (message is None)
        if message is not None:
            assert message in reader.projects.refused["q"]
        assert "p" in reader.projects.applied


def test_a_name_stays_with_who_declared_it_first_though_he_applied_again_later() -> None:
    reader = Reader()
    reader.apply(GOOD, 9.0, **{"deployment/late": 1.0, "source/landings": 1.0})
    reader.apply(other("q", deployments=[Deployment("late", "u", [Key("k")])]), 2.0)
    assert list(reader.projects.applied) == ["p"]


def test_an_older_project_does_not_take_a_name_that_it_declares_only_now() -> None:
    reader = Reader()
    reader.apply(GOOD, 5.0)
    old = other("q", deployments=[Deployment("late", "u", [Key("k")]), Deployment("d", "u", [Key("k")])])
    reader.apply(old, 9.0, **{"deployment/d": 1.0})
    assert list(reader.projects.applied) == ["p"]


@pytest.mark.parametrize("at_s", [float("nan"), float("-inf"), float("inf"), -1e300])
def test_an_instant_that_is_none_wins_no_names(at_s: float) -> None:
    reader = Reader()
    thief = msgspec.structs.replace(GOOD, name="thief")
    reader.apply(GOOD, 5.0)
    reader.apply(thief, at_s)
    reader.apply(thief, 6.0, **{f"{kind}/{name}": at_s for kind, name in names_of(GOOD)})
    assert reader.projects.definitions == [GOOD]
    assert "years 1..9999" in reader.projects.refused["thief"]


def test_a_deleted_definition_is_gone_at_once_and_what_it_declared_is_free() -> None:
    reader = Reader()
    second = msgspec.structs.replace(GOOD, name="second")
    reader.apply(GOOD, 1.0)
    reader.apply(second, 2.0)
    assert reader.projects.definitions == [GOOD]
    reader.read(None)
    assert reader.projects.definitions == [second]
    assert reader.received[-2:] == ["second", "p"]
    reader.read(None, b"second")
    assert (reader.projects.definitions, reader.projects.refused) == ([], {})


def test_of_definitions_that_nobody_believes_a_hundred_reasons_are_kept() -> None:
    reader = Reader()
    for number in range(300):
        reader.read(b"\xc1", f"k{number}".encode())
    assert list(reader.projects.refused) == [f"k{number}" for number in range(200, 300)]
