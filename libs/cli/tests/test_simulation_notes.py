"""What a record says against a plan: missing labels, a short rollback window, a season that is not declared."""

import pytest
from tests.cases.recorded_traffic import DAY_S, HOUR_S, plan, recorded

from headrace_cli.simulation.notes import notes_of
from headrace_cli.simulation.recorded import Recorded
from headrace_cli.simulation.sample import sample_of


def notes(found: Recorded, policy: str = "canary", **fields: object) -> list[str]:
    chosen = plan(policy, **fields)
    return notes_of(found, sample_of(found, chosen), chosen)


def test_many_missing_labels_that_count_as_the_worst_are_noted() -> None:
    (note,) = notes(recorded(a_day=480, missing=0.2))
    assert (
        note
        == '19% of the labels never come: with missing="worst" labels will not judge this; missing="at_random" would'
    )
    assert notes(recorded(missing=0.2), missing="at_random") == []
    assert notes(recorded(missing=0.002)) == []


def test_a_rollback_window_with_too_few_labels_is_noted_with_the_one_that_would_do() -> None:
    few = recorded(days=20, a_day=24)
    (note,) = notes(few, "blue_green", rollback_window_s=3 * DAY_S)
    assert note.startswith(
        "the rollback window 3d brings about 48 labels, and a version that ranks by chance is found after"
    )
    assert 'rollback_window="' in note
    assert notes(recorded(a_day=480), "blue_green", rollback_window_s=8 * DAY_S) == []
    assert notes(few, "canary", rollback_window_s=3 * DAY_S) == []
    assert notes(few, "blue_green", rollback_window_s=3 * DAY_S, shadow_previous=False) == []


def test_before_there_are_cycles_the_window_is_compared_with_what_was_usual_elsewhere() -> None:
    (note,) = notes(recorded(days=3), "blue_green", rollback_window_s=4 * DAY_S)
    assert note.startswith(
        "the rollback window 4d brings about 721 labels, and a version that ranks by chance is found"
    )
    assert note.endswith('after about 2,500: rollback_window="12d" would hold them')


@pytest.mark.parametrize(
    ("season_s", "expected"),
    [
        (
            None,
            ['the champion\'s loss repeats itself every 1d, which season=None does not contain: declare season="1d"'],
        ),
        (
            6 * HOUR_S,
            ['the champion\'s loss repeats itself every 1d, which season="6h" does not contain: declare season="1d"'],
        ),
        (DAY_S, []),
        (7 * DAY_S, []),
    ],
)
def test_a_pattern_that_the_season_does_not_contain_is_noted(season_s: float | None, expected: list[str]) -> None:
    found = recorded(days=40, a_day=240, daily=1.7)
    assert notes(found, season_s=season_s) == expected
