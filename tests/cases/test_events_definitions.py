"""Cases 9 and 17: one list of rules for definitions holds for `apply` and for every reader."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import Misconfigured
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.project import ProjectApplied
from headrace.features.derived import OPERATORS
from headrace.features.plan import plan_view
from headrace.features.rows import RowMaker, bare_signature
from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import (
    Binary,
    Breaker,
    Canary,
    Category,
    Count,
    Deployment,
    Derived,
    FeatureView,
    Guardrail,
    Join,
    Key,
    Mean,
    Number,
    PageHinkley,
    Project,
    RawStream,
    Reference,
    Retraining,
    Source,
    Training,
    baseline,
    outcomes,
    pipeline,
    prior,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace.project.rules import broken, names_of
from headrace.project.rules.derived import ARITIES


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
FEED = RawStream("feed")
CARRIER = FeatureView("carrier", LANDINGS, "carrier", {"mean": Mean("delay", "3h"), "n": Count("1d", stale_after="2h")})


@pipeline(FEED, to=[LANDINGS, outcomes("late")])
async def land(messages: Any) -> Any:
    async for _ in messages:
        yield None


def build(signature: Any) -> Any:
    return None


def deployment(**changes: Any) -> Deployment:
    return Deployment(
        **{
            "name": "late",
            "unit": "flight",
            "inputs": [Number("hour", 0, 23), Category("dest"), Key("carrier")],
            "features": [CARRIER.by("carrier")],
            "derived": [Derived("twice", lambda r: r.hour * 2)],
            "label": Binary("late", "1d"),
            "training": Training(build),
            "monitoring": [PageHinkley()],
            "retraining": Retraining(),
            "rollout": Canary(),
            "fallback": [baseline, prior(0.2)],
        }
        | changes
    )


def project(**changes: Any) -> Project:
    return Project(
        **{
            "name": "p",
            "deployments": [deployment()],
            "raw": [FEED],
            "pipelines": [land],
            "sources": [LANDINGS],
            "views": [CARRIER],
            "references": [Reference("carriers")],
        }
        | changes
    )


def of(**changes: Any) -> Callable[[], Project]:
    return lambda: project(deployments=[deployment(**changes)])


def source(**changes: Any) -> Callable[[], Project]:
    found = Source(**{"name": "landings", "event": Landing, "event_time": "at", "key": "carrier"} | changes)
    return lambda: Project("p", [Deployment("d", "u", [Key("k")])], sources=[found])


def view(window: Any = "3h", **changes: Any) -> Callable[[], Project]:
    arguments = {"name": "v", "source": LANDINGS, "entity": "carrier", "features": {"n": Count(window)}} | changes
    return lambda: Project(
        "p", [Deployment("d", "u", [Key("k")])], sources=[LANDINGS], views=[FeatureView(**arguments)]
    )


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            of(evaluation_window="0s"),
            r"deployment late: evaluation_window must be at least 1 s and at most 366 d, got 0",
        ),
        (of(evaluation_window=-5), r"evaluation_window must be at least 1 s.*, got -5"),
        (of(evaluation_window="99999d"), "at most 366 d, got"),
        (of(evaluation_window=float("nan")), "a duration is written like"),
        (of(evaluation_window=True), "a duration is written like"),
        (of(evaluation_window=None), "a duration is written like"),
        (of(evaluation_window="a while"), "a duration is written like 15m, 3h or 180d, got 'a while'"),
        (of(feature_delay="-1h"), "a duration is written like"),
        (of(feature_delay=-1), r"feature_delay must be at least 0 s"),
        (of(label=Binary("late", 0)), "the label's horizon must be at least 1 s"),
        (of(label=Binary("late", "1d", "maybe")), "absent must be unknown or negative, got 'maybe'"),
        (of(inputs=[Number("x", 5, 1), Key("carrier")], derived=()), "x must lie in low..high, got low 5 above high 1"),
        (of(inputs=[Number("x", float("nan")), Key("carrier")], derived=()), "low of x must be a finite number"),
        (of(inputs=[Number("", 1), Key("carrier")], derived=()), "an input's name must have 1 to 200 characters"),
        (of(inputs=[Number("x"), Number("x"), Key("carrier")], derived=()), "'x' is declared twice"),
        (
            of(inputs=[Number("x", "low"), Key("carrier")], derived=()),
            "deployment late: low of Number 'x' must be a number, got 'low'",
        ),
        (
            of(inputs=[Key(f"k{n}") for n in range(3000)] + [Key("carrier")], derived=()),
            "the number of inputs must lie",
        ),
        (of(inputs=None), "deployment late: inputs must be a list, got None"),
        (of(fallback=[prior(1.5)]), "prior is a probability and must lie in 0..1, got 1.5"),
        (of(fallback=[prior(float("nan"))]), "prior needs a number, got nan"),
        (of(fallback=[prior(0.5), baseline]), "prior is always the last step of the fallback"),
        (of(fallback=[baseline, baseline]), "is declared twice"),
        (of(coverage=98), r"coverage must lie in 0..1, got 98 \(percent\?\)"),
        (of(name="a/b"), "deployment 'a/b': a deployment's name is 1 to 100 letters"),
        (of(name=""), "deployment '': a deployment's name is"),
        (of(name="x" * 300), "deployment 'xxxx.*: a deployment's name is"),
        (of(model="../../etc"), "model '../../etc': a model's name is"),
        (of(unit=""), "unit must have 1 to 200 characters"),
        (of(time_limit=0), "time_limit must be at least"),
        (of(training=Training(build, history=0)), "training's history must be"),
        (of(training=Training(build, min_rows=-1)), "training's min_rows must lie in 1.."),
        (of(training=Training(build), label=None, fallback=()), "training needs a label"),
        (of(monitoring=[PageHinkley(min_windows=0)]), "min_windows must lie in 1.."),
        (of(monitoring=[PageHinkley(delta=float("inf"))]), "a detector's delta"),
        (of(retraining=Retraining(cooldown=-1)), "cooldown must be at least 0 s"),
        (of(rollout=Canary(block=0)), "rollout block must be at least 1 s"),
        (of(rollout=Canary(min_decisions=0)), "min_decisions must be at least 1"),
        (of(rollout=Canary(guardrails=[Guardrail("errors", float("nan"))])), "guardrail errors: limit and consecutive"),
        (of(breaker=Breaker(window=0)), "window=.* must be at least"),
        (of(breaker=Breaker(probes=0)), "breaker counts must be at least 1"),
        (of(derived=[Derived("x", lambda r: r.dest * 2)]), "computes with 'dest', which is a text"),
        (of(owner="x" * 20_000), "owner must have 0 to 10,000 characters"),
        (lambda: project(name=""), "project '': a project's name is"),
        (lambda: project(name="ä"), "project 'ä': a project's name is"),
        (lambda: project(name=5), "project 5: name must be a text, got 5"),
        (lambda: project(raw=[FEED, FEED]), "'feed' is declared twice"),
        (
            lambda: project(raw=[RawStream("feed", partitions=0)]),
            "raw stream feed: partitions must lie in 1..1,000, got 0",
        ),
        (lambda: project(raw=[RawStream("feed", partitions=10**9)]), "partitions must lie in 1..1,000, got 1000000000"),
        (lambda: project(raw=[RawStream("feed", format="xml")]), "format must be json or msgpack, got 'xml'"),
        (source(name="My Source/é"), "source 'My Source/é': a source's name is"),
        (source(partitions=2000), "partitions must lie in 1..1,000, got 2000"),
        (source(available_after=-1), "available_after must be at least 0 s"),
        (source(dedupe_within=0, dedupe="carrier"), "dedupe_within must be at least 1 s"),
        (view("2000d"), "view v: the window of n must be longer than 0 s and at most 731 d"),
        (view(0), "the window of n must be longer than 0 s"),
        (view("7m"), "the window of n must be a multiple of 300 s, got 420 s"),
        (view(features={}), "it has no features"),
        (
            view(features={f"n{n}": Count("1h") for n in range(600)}),
            "the number of features must lie in 0..500, got 600",
        ),
        (view(features={"": Count("1h")}), "a feature's name must have 1 to 200 characters"),
        (view(features={"n": Count("1h", default=float("inf"))}), "the default of n must be a finite number"),
        (view(features={"n": Mean("carrier", "1h")}), "n needs a number or flag"),
        (view(name="a b"), "view 'a b': a view's name is"),
        (view(features=None), "view v: features must be a dict, such as .*, got None"),
    ],
)
def test_a_wrong_declaration_is_one_sentence_with_what_was_got_and_what_is_expected(
    declared: Callable[[], Project], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message) as raised:
        compile_project(declared())
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_what_is_right_breaks_no_rule() -> None:
    assert list(broken(compile_project(project()))) == []


def test_the_rules_know_the_operators_that_are_evaluated() -> None:
    assert set(ARITIES) == set(OPERATORS)


def test_a_join_of_a_negative_time_is_refused_like_any_duration() -> None:
    with pytest.raises(Misconfigured, match="a duration is written like"):
        Join("-1h").match("a", "k", 1, 0.0)


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
