"""Live profiles: per open window and version, counted in batches, the same after a restart, and bounded."""

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.inputs_scene import AN_HOUR, DAY, HOUR, REFERENCE, Inputs, decisions, registered

from headrace.events.inference import DecisionMade, FellBack, Refused, Score, Served
from headrace.events.registry import ColumnPin, Signature
from headrace.log.port import MAX_VALUE_BYTES
from headrace.stats.references import MOST_COLUMNS, described
from headrace_monitor.core.input_drift import finding_of
from headrace_monitor.core.live_inputs import MOST_INTERVALS, LiveInputs
from headrace_monitor.core.references import KEPT_VERSIONS, References

FIGURES = ("column", "version", "rows", "null_share", "psi", "chi_square", "p_value", "is_moved", "unknown_share")


def figures(inputs: Inputs, window_s: float = 0.0) -> list[tuple]:
    """What a window shows of its columns, except for the parts of it that are random within a bound."""
    return [tuple(getattr(column, name) for name in FIGURES) for column in inputs.watch.columns_of(window_s)]


def in_utc(matrix: np.ndarray) -> None:
    matrix[:, 2] = (matrix[:, 2] + 5) % 24


def in_utc_and_null(matrix: np.ndarray) -> None:
    in_utc(matrix)
    matrix[:, 3] = np.nan


def test_a_window_shows_every_column_and_the_scores() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    found = inputs.watch.columns_of(0.0)
    assert [column.column for column in found] == ["carrier", "miles", "hour", "carrier.mean", "score"]
    assert {column.rows for column in found} == {24 * AN_HOUR}
    assert found[3].null_share == pytest.approx(0.1, abs=0.03)
    assert (found[0].ks, found[0].sketch, found[0].unknown_share) == (None, b"", 0.0)
    assert all(column.ks is not None and column.ks < 0.08 for column in found[1:])
    assert all(column.psi < 0.1 and column.p_value > 0.01 and not column.is_moved for column in found)


def test_a_restart_in_the_middle_of_a_window_gives_the_same_profile() -> None:
    """The decisions are read again in other batches; nothing that was published is published again."""
    whole, again = Inputs(), Inputs(judged_to_s=18 * HOUR)
    broken = [*decisions(0.0, 17 * HOUR, in_utc), *decisions(17 * HOUR, DAY, in_utc_and_null)]
    whole.take(broken)
    whole.look(DAY)
    for n in range(0, len(broken), 7):
        again.take(broken[n : n + 7])
        again.watch.live.fold()
    again.open = {"contract:inputs.carrier.mean": whole.opened[0]}
    again.look(DAY)
    assert figures(again) == figures(whole)
    for one, other in zip(again.watch.columns_of(0.0), whole.watch.columns_of(0.0), strict=True):
        assert one.ks == pytest.approx(other.ks, abs=0.08)
    assert [found.kind for found in whole.opened] == ["contract", "inputs"]
    assert [found.kind for found in again.opened] == ["inputs"]
    assert again.opened[0].finding == whole.opened[1].finding


def test_what_was_judged_before_a_restart_is_not_judged_again() -> None:
    again = Inputs(judged_to_s=2 * HOUR)
    again.play(0.0, 2 * HOUR, lambda matrix: matrix.__setitem__((slice(None), 3), np.nan))
    assert again.opened == []
    assert again.watch.judged_to_s == 2 * HOUR


def test_rows_count_for_the_version_that_answered() -> None:
    inputs = Inputs()
    inputs.references.add(registered(2, REFERENCE))
    found = decisions(0.0, HOUR)
    for n, one in enumerate(found[:20]):
        score = Score(2, "m", 0.5)
        found[n] = type(one)(
            one.request_id, "d", one.unit, one.at_s, FellBack("previous", "why", score), 0, one.row, "s"
        )
    found[20] = type(found[20])("r", "d", "u", 1.0, FellBack("prior", "why", Score(0, "", 0.2)), 0, b"", "")
    inputs.take(found)
    seen = inputs.watch.columns_of(0.0)
    assert [(column.version, column.rows) for column in seen[::5]] == [(1, AN_HOUR - 21), (2, 20)]


def test_a_window_of_many_wide_versions_fits_into_a_record() -> None:
    """Two hundred columns of six versions: two have sketches, and the one with fewest rows is left out."""
    rng = np.random.default_rng(8)
    at_s = np.sort(rng.uniform(-9 * DAY, 0.0, 400))
    pins = tuple(ColumnPin(f"of_a_view.feature_{n}") for n in range(MOST_COLUMNS))
    usual = described(pins, rng.normal(size=(400, MOST_COLUMNS)).astype(np.float32), at_s, DAY)
    inputs = Inputs()
    for version in range(1, 7):
        about = registered(version, usual)
        inputs.references.add(msgspec.structs.replace(about, signature=Signature(pins, "s")))
        for n in range(300 + version):
            row = rng.normal(size=MOST_COLUMNS).astype(np.float32).tobytes()
            answer = Served(Score(version, "m", 0.5))
            inputs.take([DecisionMade(f"r{n}", "d", f"u{n}", n * 60.0, answer, 0, row, "s")])
    found = inputs.watch.columns_of(0.0)
    assert list(dict.fromkeys(column.version for column in found)) == [2, 3, 4, 5, 6]
    assert {column.version for column in found if column.sketch and column.distinct_sketch} == {5, 6}
    assert all(column.distinct is not None and column.ks is not None for column in found)
    assert len(msgspec.msgpack.encode(found)) < 0.8 * MAX_VALUE_BYTES


def test_rows_of_another_width_are_not_compared() -> None:
    inputs = Inputs()
    one = decisions(0.0, HOUR)[0]
    inputs.take([type(one)(one.request_id, "d", one.unit, 0.0, one.answer, 0, one.row[:8], "other")])
    assert inputs.watch.columns_of(0.0) == ()


def test_inputs_that_moved_make_one_finding_until_two_windows_are_quiet() -> None:
    inputs = Inputs()
    inputs.play(0.0, 2 * DAY, in_utc)
    assert [(found.kind, found.severity, found.at_s) for found in inputs.opened] == [("inputs", "info", DAY)]
    (found,) = inputs.opened
    assert found.evidence is not None
    assert [moved.column for moved in found.evidence.moved] == ["hour"]
    assert found.summary.startswith("inputs moved away from the training rows: hour (PSI ")
    inputs.play(2 * DAY, 3 * DAY)
    assert inputs.over == []
    inputs.play(3 * DAY, 4 * DAY)
    assert inputs.over == ["inputs:hour"]


def by_version(decision: DecisionMade, version: int) -> DecisionMade:
    assert isinstance(decision.answer, Served)
    return replace(decision, answer=Served(replace(decision.answer.score, version=version)))


@pytest.mark.parametrize(("hour", "answered", "is_judged"), [(1, 2, True), (6, 2, False), (18, 1, False)])
def test_a_version_that_answered_for_a_part_of_a_window_is_not_compared_with_whole_days(
    hour: int, answered: int, is_judged: bool
) -> None:
    """Version 2 takes over at that hour of a day whose hours have moved: whichever of both answered most is judged, or none."""
    inputs = Inputs()
    inputs.references.add(registered(2, REFERENCE))
    found = decisions(0.0, DAY, in_utc)
    version = [1 if one.at_s < hour * HOUR else 2 for one in found]
    inputs.take([by_version(one, n) for one, n in zip(found, version, strict=True)])
    assert max(set(version), key=version.count) == answered
    columns = inputs.watch.columns_of(0.0)
    assert {(one.version, one.is_moved) for one in columns if one.column == "hour"} == {(1, False), (2, is_judged)}
    inputs.look(DAY)
    assert inputs.found() == ([("inputs", "hour", "psi")] if is_judged else [])


def test_a_version_that_answered_after_an_outage_is_not_compared_with_whole_days() -> None:
    inputs = Inputs()
    found = decisions(0.0, DAY, in_utc)
    inputs.take([replace(one, answer=Refused("overload")) if one.at_s < 9 * HOUR else one for one in found])
    inputs.look(DAY)
    assert inputs.found() == []


def longer_flights(matrix: np.ndarray) -> None:
    matrix[:, 1] *= np.linspace(1.0, 3.0, len(matrix)).astype(np.float32)


def longer_flights_in_utc(matrix: np.ndarray) -> None:
    longer_flights(matrix)
    in_utc(matrix)


def test_what_moves_while_a_finding_stands_has_a_finding_of_its_own() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY, longer_flights)
    inputs.play(DAY, 2 * DAY, longer_flights_in_utc)
    assert [(found.kind, found.about, found.at_s) for found in inputs.opened if found.kind == "inputs"] == [
        ("inputs", "miles", DAY), ("inputs", "hour", 2 * DAY),
    ]  # fmt: skip
    inputs.play(2 * DAY, 4 * DAY, longer_flights)
    assert [key for key in inputs.over if key.startswith("inputs:")] == ["inputs:hour"]
    assert "inputs:miles" in inputs.open


def test_a_finding_names_five_columns_and_how_many_more() -> None:
    inputs = Inputs()
    inputs.play(0.0, HOUR)
    (column, *_) = inputs.watch.columns_of(0.0)
    columns = [replaced(column, n) for n in range(7)]
    assert finding_of("d", columns, 0.0, DAY).summary.endswith("c4 (PSI 0.50) and 2 more")


def replaced(column, n: int):
    fields = {name: getattr(column, name) for name in column.__struct_fields__}
    return type(column)(**fields | {"column": f"c{n}", "is_moved": True, "psi": 0.5, "p_value": n / 1000})


def test_a_closed_window_is_dropped_and_frees_what_it_took() -> None:
    inputs = Inputs()
    inputs.take(decisions(0.0, HOUR))
    inputs.watch.live.fold()
    held = inputs.watch.live.held_bytes
    inputs.watch.drop_window(0.0)
    assert 0 < inputs.watch.live.held_bytes < held
    assert inputs.watch.columns_of(0.0) == ()
    inputs.look(30 * HOUR)
    assert (inputs.watch.live.held_bytes, inputs.watch.live.intervals) == (0, {})


def test_profiles_are_bounded() -> None:
    references = References()
    references.add(registered(found=REFERENCE))
    live = LiveInputs("d", references, limit_bytes=60_000)
    for n, one in enumerate(decisions(0.0, 40 * HOUR)):
        live.add(one, one.at_s // HOUR * HOUR, 0, n)
    live.fold()
    assert live.held_bytes <= live.limit_bytes
    assert 0 < sum(map(len, live.windows.values())) < 40


def test_instants_that_users_choose_make_no_end_of_intervals() -> None:
    inputs = Inputs()
    one = decisions(0.0, HOUR)[0]
    for n in range(MOST_INTERVALS + 10):
        inputs.watch.live.add(type(one)(f"{n}", "d", "u", n * HOUR, one.answer, 0, one.row, "s"), None, 0, n)
    inputs.watch.live.fold()
    assert len(inputs.watch.live.intervals) <= MOST_INTERVALS


def test_an_old_version_is_forgotten() -> None:
    references = References()
    for version in range(1, KEPT_VERSIONS + 2):
        references.add(registered(version, REFERENCE))
    references.add(registered(99))
    assert references.of("d", 1) is None
    assert references.of("d", 2) is not None
    assert references.of("d", 99) is None


def test_a_definition_with_other_windows_keeps_the_intervals() -> None:
    inputs, other = Inputs(), Inputs()
    inputs.play(0.0, 3 * HOUR)
    other.watch._length_s = 2 * DAY
    other.watch.adopt(inputs.watch)
    assert (list(other.watch.live.intervals), other.watch.columns_of(0.0)) == ([0.0, HOUR, 2 * HOUR], ())
