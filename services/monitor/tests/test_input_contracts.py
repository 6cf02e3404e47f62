"""Contracts on requests and features: what is broken is found within intervals, by its kind, and a calm fortnight is calm."""

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from services.monitor.tests.inputs_scene import (
    AN_HOUR,
    DAY,
    HOUR,
    PINS,
    REFERENCE,
    Inputs,
    decisions,
    refused,
    registered,
)

from headrace.events.inference import Score, Served
from headrace.events.references import VersionReference

Change = Callable[[NDArray[np.float32]], None]


def nulls(matrix: NDArray[np.float32]) -> None:
    matrix[:, 3] = np.nan


def half_null(matrix: NDArray[np.float32]) -> None:
    matrix[::2, 3] = np.nan


def renamed(matrix: NDArray[np.float32]) -> None:
    matrix[matrix[:, 0] == 1, 0] = np.nan


def kilometres(matrix: NDArray[np.float32]) -> None:
    matrix[:, 1] *= 1.609


def seconds(matrix: NDArray[np.float32]) -> None:
    matrix[:, 3] *= 60


def in_utc(matrix: NDArray[np.float32]) -> None:
    matrix[:, 2] = (matrix[:, 2] + 5) % 24


@pytest.mark.parametrize(
    ("change", "found", "hours"),
    [
        (nulls, ("contract", "inputs.carrier.mean", "null"), 1),
        (half_null, ("contract", "inputs.carrier.mean", "null"), 5),
        (renamed, ("contract", "inputs.carrier", "unknown"), 2),
        (seconds, ("contract", "inputs.carrier.mean", "outside"), 2),
        (kilometres, ("contract", "inputs.miles", "size"), 24),
        (in_utc, ("inputs", "hour", "psi"), 24),
    ],
)
def test_a_fault_is_found_by_its_kind(change: Change, found: tuple[str, str, str], hours: int) -> None:
    inputs = Inputs()
    inputs.play(0.0, 2 * DAY)
    assert inputs.found() == []
    inputs.play(2 * DAY, 2 * DAY + hours * HOUR, change)
    assert [kind for kind in inputs.found() if kind[0] == found[0]] == [found]
    assert {kind for kind, _, _ in inputs.found()} <= {found[0], "inputs"}


def with_default(most: float | None) -> Inputs:
    """The inputs, with a default of the feature that stood for a missing value in so many rows of a day of training, at most."""
    hours = () if most is None else (2 * most,)
    columns = (*REFERENCE.columns[:3], replace(REFERENCE.columns[3], most_missing=most, most_missing_hours=hours))
    inputs = Inputs()
    inputs.references.add(registered(found=replace(REFERENCE, columns=columns)))
    return inputs


def played(inputs: Inputs, from_s: float, to_s: float, share: float) -> None:
    """Hours in which the feature has no value in a share of the requests; their rows hold its default."""
    for hour_s in np.arange(from_s, to_s, HOUR).tolist():
        made = decisions(hour_s, hour_s + HOUR)
        missing = round(share * len(made))
        inputs.take([replace(one, missing=("carrier.mean",)) if n < missing else one for n, one in enumerate(made)])
        inputs.look(hour_s + HOUR)


def test_a_feature_that_gets_its_default_more_often_than_in_training_is_found() -> None:
    inputs = with_default(0.1)
    played(inputs, 0.0, DAY, 0.1)
    assert inputs.opened == []
    played(inputs, DAY, DAY + 2 * HOUR, 0.6)
    (found,) = inputs.opened
    assert (found.kind, found.about, found.detector) == ("contract", "inputs.carrier.mean", "missing")
    assert found.summary == (
        "inputs.carrier.mean: 60% of the requests have no value of it and get its default, more than ever in training"
    )
    assert (found.measured, found.limit) == (0.6, pytest.approx(0.25))
    assert found.evidence is not None
    first = decisions(DAY + HOUR, DAY + 2 * HOUR)
    assert found.evidence.first_at_s == first[0].at_s
    assert found.evidence.requests == tuple(one.request_id for one in first[:10])
    assert found.evidence.first_place == f"inference.decisions.v1/0/{25 * AN_HOUR}"
    played(inputs, DAY + 2 * HOUR, DAY + 6 * HOUR, 0.1)
    assert inputs.over == ["contract:inputs.carrier.mean"]


def test_defaults_are_not_judged_where_training_did_not_count_them() -> None:
    for inputs in (with_default(None), Inputs()):
        played(inputs, 0.0, 6 * HOUR, 1.0)
        assert inputs.opened == []


def night_null(matrix: NDArray[np.float32]) -> None:
    matrix[: int(0.22 * len(matrix)), 3] = np.nan


def test_the_first_morning_is_no_day() -> None:
    """A share that is usual of these hours, and would be too much of a whole day: it is compared with a day when there is one."""
    inputs = Inputs()
    inputs.play(0.0, 19 * HOUR, night_null)
    assert inputs.found() == []
    inputs.play(19 * HOUR, 22 * HOUR, night_null)
    assert inputs.found() == [("contract", "inputs.carrier.mean", "null")]


def test_an_hour_that_often_has_no_values_does_not_end_a_fault() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    inputs.play(DAY, DAY + HOUR, nulls)
    inputs.play(DAY + HOUR, DAY + 5 * HOUR, night_null)
    assert (len(inputs.opened), inputs.over) == (1, [])
    inputs.play(DAY + 5 * HOUR, DAY + 8 * HOUR)
    assert inputs.over == ["contract:inputs.carrier.mean"]


def test_a_size_stays_wrong_over_days_without_requests() -> None:
    """The first hours after them are no day, and tell nothing of sizes."""
    inputs = Inputs()
    inputs.play(0.0, 2 * DAY)
    inputs.play(2 * DAY, 4 * DAY, kilometres)
    key = "contract:inputs.miles"
    inputs.play(6 * DAY, 8 * DAY, kilometres)
    assert ([found.detector for found in inputs.opened].count("size"), inputs.over.count(key)) == (1, 0)
    inputs.play(8 * DAY, 10 * DAY)
    assert (inputs.over.count(key), key in inputs.open) == (1, False)


@pytest.mark.parametrize("found", [None, replace(REFERENCE, columns=REFERENCE.columns[:3])])
def test_a_fault_is_over_when_the_version_that_answers_has_the_column_no_more(found: VersionReference | None) -> None:
    """Another champion brings no reference, or one without the column."""
    inputs = Inputs()
    inputs.play(0.0, DAY)
    inputs.play(DAY, DAY + 2 * HOUR, nulls)
    assert inputs.found() == [("contract", "inputs.carrier.mean", "null")]
    about = registered(2, found)
    pins = PINS[: len(found.columns)] if found is not None else PINS
    inputs.references.add(replace(about, signature=replace(about.signature, columns=pins)))
    for hour in range(2, 6):
        from_s = DAY + hour * HOUR
        answer = Served(Score(2, "m", 0.5))
        rows = [replace(one, answer=answer, row=one.row[: 4 * len(pins)]) for one in decisions(from_s, from_s + HOUR)]
        inputs.take(rows)
        inputs.look(from_s + HOUR)
    assert inputs.over == ["contract:inputs.carrier.mean"]
    (over,) = inputs.ended
    assert (over.reason, over.at_s) == ("in no row that is compared for 3 intervals", DAY + 5 * HOUR)


def test_a_calm_fortnight_is_calm() -> None:
    inputs = Inputs()
    inputs.play(0.0, 15 * DAY)
    assert inputs.found() == []


def test_a_finding_names_the_first_decision_and_ten_requests() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    inputs.play(DAY, DAY + HOUR, nulls)
    (found,) = inputs.opened
    assert (found.at_s, found.version, found.measured, found.limit) == (DAY + HOUR, 1, 1.0, pytest.approx(0.35))
    assert found.evidence is not None
    assert found.evidence.first_place == f"inference.decisions.v1/0/{24 * AN_HOUR}"
    assert found.evidence.first_at_s == found.changed_at_s == DAY
    assert found.evidence.requests == tuple(f"r{int((DAY + n * 72) * 10)}" for n in range(10))
    assert found.summary == "inputs.carrier.mean: 100% of the rows have no value, more than ever in training"


def test_one_odd_hour_that_is_not_certain_is_no_finding() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    inputs.play(DAY, DAY + HOUR, lambda matrix: matrix[: int(0.7 * AN_HOUR)].__setitem__((slice(None), 3), np.nan))
    inputs.play(DAY + HOUR, 2 * DAY)
    assert inputs.found() == []


def test_it_is_over_after_three_clean_intervals_and_opens_again_as_another_finding() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    inputs.play(DAY, DAY + 2 * HOUR, nulls)
    inputs.play(DAY + 2 * HOUR, DAY + 4 * HOUR)
    assert inputs.over == []
    # NB: the last four hours, two of which are broken, show nothing new: it is open.
    inputs.play(DAY + 4 * HOUR, DAY + 8 * HOUR)
    assert inputs.over == ["contract:inputs.carrier.mean"]
    inputs.play(DAY + 8 * HOUR, DAY + 9 * HOUR, nulls)
    assert len({found.finding for found in inputs.opened}) == 2


def test_requests_that_break_the_contract_are_found_by_their_field() -> None:
    inputs = Inputs()
    inputs.play(0.0, DAY)
    for hour in range(2):
        from_s = DAY + hour * HOUR
        inputs.take(refused(from_s, from_s + HOUR, 0.4))
        inputs.look(from_s + HOUR)
    assert inputs.found() == [("contract", "inputs.miles", "invalid")]
    assert inputs.opened[0].summary == "inputs.miles: 40% of the requests are refused for it"


def test_a_long_fault_of_requests_is_over_though_no_reference_names_the_field() -> None:
    """Four clean hours later none of the newest shows it any more, and three of these end it."""
    inputs = Inputs()
    inputs.references._frames.clear()
    for hour in range(24):
        inputs.take(refused(hour * HOUR, (hour + 1) * HOUR, 1.0))
        inputs.look((hour + 1) * HOUR)
    inputs.play(DAY, 2 * DAY)
    assert [(over.key, over.at_s) for over in inputs.ended] == [("contract:inputs.miles", DAY + 6 * HOUR)]
    assert inputs.found() == [("contract", "inputs.miles", "invalid")]


def test_requests_that_are_all_refused_are_found_without_any_row() -> None:
    inputs = Inputs()
    inputs.take(refused(0.0, HOUR, 1.0))
    inputs.look(HOUR)
    assert [(found.about, found.detector, found.version) for found in inputs.opened] == [
        ("inputs.miles", "invalid", None)
    ]


def test_features_of_a_silent_source_are_found_unless_that_is_known() -> None:
    for unjudged, found in (((), [("contract", "inputs.carrier.mean", "stale")]), (("carrier.mean",), [])):
        inputs = Inputs()
        inputs.take([replace(one, stale=("carrier.mean",)) for one in decisions(0.0, HOUR)])
        seen = inputs.watch.look(HOUR, HOUR, 0.0, {}, unjudged)
        assert [(one.kind, one.about, one.detector) for one in seen.opened] == found


def test_little_traffic_is_judged_once_twenty_rows_are_there() -> None:
    inputs = Inputs()
    for hour in range(5):
        inputs.take(decisions(hour * HOUR, (hour + 1) * HOUR, nulls)[:6])
        inputs.look((hour + 1) * HOUR)
        assert len(inputs.opened) == (hour >= 3)


def test_what_is_certain_is_found_within_a_minute_before_the_interval_is_over() -> None:
    inputs = Inputs()
    inputs.take(decisions(0.0, HOUR / 2, nulls))
    assert not inputs.watch.is_due(HOUR / 12, 100.0)
    assert not inputs.watch.is_due(HOUR / 12, 159.0)
    assert inputs.watch.is_due(HOUR / 12, 160.0)
    inputs.look(HOUR / 2, 160.0)
    assert inputs.found() == [("contract", "inputs.carrier.mean", "null")]
    assert not inputs.watch.is_due(HOUR / 12, 1000.0)  # nothing came since


def test_without_a_reference_only_requests_are_judged() -> None:
    inputs = Inputs()
    inputs.references._frames.clear()
    inputs.play(0.0, 2 * HOUR, nulls)
    assert (inputs.found(), inputs.watch.columns_of(0.0)) == ([], ())
