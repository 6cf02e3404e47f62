"""What a finding rests on: the segment, the first decision, the requests, and who writes differently since."""

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.explained_scene import DAY, ROWS, Scene

from headrace.events.charts import ColumnSeen
from headrace.events.monitor import FindingEvidence, FindingOpened, Moved, Usual
from headrace_monitor.core.explaining import explained, look_at, usual_after


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_the_segment_whose_labels_changed_is_named_for_every_kind_of_label(kind: str) -> None:
    scene = Scene(kind)
    scene.live(5)
    day = scene.day()
    mine = day["carrier"] == 1
    changed = {"binary": 1 - day["label"], "classes": np.full(ROWS, 2.0), "number": 100 - day["label"]}
    day["label"][mine] = changed[kind][mine]
    found = scene.finding(scene.seen(9, day)).evidence
    assert found is not None
    assert found.segment is not None
    assert (found.segment.column, found.segment.value, found.segment.rows) == ("carrier", "UA", int(mine.sum()))
    assert found.segment.explains > 0.9
    assert found.segment.measured > found.segment.rest
    assert len(found.requests) == 10
    assert {int(request.split("-")[1]) for request in found.requests} <= set(np.flatnonzero(mine).tolist())


def test_a_range_of_a_number_is_named() -> None:
    scene = Scene()
    scene.live(5)
    day = scene.day()
    cold = day["temp"] < 0
    day["label"][cold] = (scene.rng.random(ROWS) < 0.7)[cold]
    segment = scene.finding(scene.seen(9, day)).evidence.segment  # type: ignore[union-attr]
    assert segment is not None
    assert segment.column == "temp"
    assert segment.value.startswith("below ")
    assert -2 < float(segment.value.removeprefix("below ")) < 3


def test_requests_without_a_value_are_a_part_too() -> None:
    scene = Scene()
    scene.live(5)
    day = scene.day()
    day["temp"][:900] = np.nan
    day["label"][:900] = 1.0
    segment = scene.finding(scene.seen(9, day)).evidence.segment  # type: ignore[union-attr]
    assert (segment.column, segment.value, segment.rows) == ("temp", "no value", 900)  # type: ignore[union-attr]


def test_a_segment_that_is_always_hard_explains_nothing() -> None:
    """The errors of carrier WN are four times as large on any day: everything got worse by half, and no part stands out."""
    scene = Scene("number")
    scene.live(8)
    day = scene.day()
    day["label"] = np.clip(day["label"] + scene.rng.normal(0, 5, ROWS), 0, 100)
    assert scene.finding(scene.seen(9, day)).evidence.segment is None  # type: ignore[union-attr]
    scene.usual = Usual()
    naive = scene.finding(scene.seen(9, day)).evidence.segment  # type: ignore[union-attr]
    assert (naive.column, naive.value) == ("carrier", "WN")  # type: ignore[union-attr]


def test_nothing_is_named_by_chance() -> None:
    """The bar is one in a thousand over all parts: of 60 days of equal change in all requests none names a part."""
    scene = Scene()
    scene.live(5)
    named = 0
    for number in range(10, 70):
        day = scene.day(1_000)
        day["label"] = (scene.rng.random(1_000) < np.clip(day["score"] + 0.15, 0, 1)).astype(np.float64)
        named += scene.finding(scene.seen(number, day)).evidence.segment is not None  # type: ignore[union-attr]
    assert named == 0


def test_the_first_place_is_the_first_decision_of_the_window_in_which_the_change_began() -> None:
    scene = Scene()
    scene.live(4)
    seen = scene.seen(4, scene.day())
    now, before = scene.finding(seen).evidence, scene.finding(seen, changed_at_s=2 * DAY).evidence
    assert (now.first_place, now.first_at_s) == ("inference.decisions.v1/0/4000", 4 * DAY)  # type: ignore[union-attr]
    assert (before.first_place, before.first_at_s) == ("inference.decisions.v1/0/2000", 2 * DAY)  # type: ignore[union-attr]


def test_of_missing_labels_and_values_the_first_request_that_shows_it_is_named() -> None:
    scene = Scene()
    day = scene.day()
    late = (day["carrier"] == 0) & (np.arange(ROWS) > 500)
    day["label"][late], day["temp"][late] = np.nan, np.nan
    seen, first = scene.seen(3, day), int(np.flatnonzero(late)[0])
    for found in (scene.finding(seen, "labels"), scene.finding(seen, "contract", about="temp")):
        assert found.evidence is not None
        assert found.evidence.segment is not None
        assert found.evidence.first_place == f"inference.decisions.v1/0/{3000 + first}"
        assert found.evidence.requests[0] == f"r3-{first}"
        assert (found.evidence.segment.column, found.evidence.segment.rest) in (("carrier", 0.0), ("temp", 0.0))


def test_code_version_and_definition_that_changed_within_the_window_or_before_it_are_named() -> None:
    scene = Scene()
    scene.live(3)
    day = scene.day()
    day["code"] = ["c1"] * 1_000 + ["c2"] * 2_000
    seen = scene.seen(3, day, version=2)
    found = scene.finding(seen, version=2).evidence
    assert found is not None
    assert found.producers == ("version: 1 -> 2", "code: c1 -> c2")
    scene.usual = usual = seen.usual
    assert (usual.version, usual.parts) == (2, ())
    assert scene.finding(scene.seen(4, day, version=2)).evidence.producers == found.producers  # type: ignore[union-attr]
    later = scene.seen(9, scene.day() | {"code": ["c2"] * ROWS}, version=2)
    assert scene.finding(later, version=2).evidence.producers == ()  # type: ignore[union-attr]


def test_columns_that_moved_are_named_and_what_a_finding_brings_itself_stays() -> None:
    scene = Scene()
    seen = scene.seen(0, scene.day())
    column = ColumnSeen("temp", 1, ROWS, 0.0, 0.4, 0.3, 9.0, 1e-9, True)
    columns = (replace(column, column="carrier", psi=0.1, is_moved=False), column)
    seen = dataclasses.replace(seen, window=replace(seen.window, columns=columns))
    own = FindingEvidence("events.landings.v1/0/7", 12.0, ("mine",), charts=("level",))
    found = scene.finding(seen, "contract", about="temp", evidence=own).evidence
    assert found is not None
    assert (found.first_place, found.first_at_s, found.requests, found.charts) == (
        own.first_place,
        12.0,
        ("mine",),
        ("level",),
    )
    assert found.moved == (Moved("temp", "psi", 0.4),)


def test_an_empty_window_explains_nothing_and_raises_nothing() -> None:
    scene = Scene()
    seen = scene.seen(0, scene.day(2))
    empty = type(seen.inputs)(scene.project, scene.deployment, seen.inputs.rows, (), {}, {}, 0.0)
    found = FindingOpened("f", "d", "drift", "", DAY, version=1)
    evidence = explained(found, look_at(empty, seen.window, None, None), {}).evidence
    assert evidence is not None
    assert (evidence.segment, evidence.requests, evidence.moved, evidence.producers) == (None, (), (), ())


def test_what_is_usual_is_bounded() -> None:
    scene = Scene()
    for number in range(0, 70):
        scene.usual = usual_after(scene.seen(number, scene.day(60)), is_usual=True)
    assert len(scene.usual.begins) == 64
    assert [part.column for part in scene.usual.parts] == ["carrier", "temp", "code_version", "version"]
    assert all(len(part.rows) <= 25 for part in scene.usual.parts)
