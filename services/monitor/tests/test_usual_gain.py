"""What a champion usually gains over a constant answer, by its closed windows; the default margin is a tenth of it."""

import pytest

from headrace.events.definition import LabelDefinition
from headrace.events.monitor import VersionQuality, WindowClosed
from headrace_monitor.core.usual_gain import gain_of, recorded

BINARY = LabelDefinition("y", "binary", 60.0)
CLASSES = LabelDefinition("y", "classes", 60.0, classes=("a", "b", "c"))
NUMBER = LabelDefinition("y", "number", 60.0, low=0.0, high=1.0)


def quality(rows: int, score: float | None, role: str = "champion") -> VersionQuality:
    return VersionQuality(1, role, rows, None, None, None, None, score=score)


def window(labelled: int, share: float | None, *qualities: VersionQuality, **more) -> WindowClosed:
    return WindowClosed("d", 0.0, 1.0, labelled, labelled, share, "PASS", qualities, **more)


def test_the_gain_is_that_of_the_champion_over_the_best_constant_of_all_windows_together() -> None:
    record = recorded((), window(100, 0.5, quality(100, 0.2), quality(100, 0.9, "shadow")), BINARY)
    assert record == (100.0, pytest.approx(20.0), 50.0, 50.0)
    assert gain_of(record, BINARY) == pytest.approx(0.25 - 0.2)
    record = recorded(record, window(300, 0.1, quality(300, 0.05)), BINARY)
    rows, positives = 98 + 300, 49 + 30
    share = positives / rows
    assert gain_of(record, BINARY) == pytest.approx(share * (1 - share) - (0.98 * 20 + 15) / rows)


def test_older_windows_fade() -> None:
    record = recorded((), window(1000, 0.5, quality(1000, 0.24)), BINARY)
    for _ in range(300):
        record = recorded(record, window(100, 0.5, quality(100, 0.05)), BINARY)
    assert record[0] == pytest.approx(100 / 0.02, rel=0.05)
    assert gain_of(record, BINARY) == pytest.approx(0.2, abs=0.001)


def test_several_classes_are_counted_by_name() -> None:
    found = window(200, None, quality(200, 0.1), class_shares={"c": 0.25, "a": 0.75})
    record = recorded((), found, CLASSES)
    assert record[2:] == (150.0, 0.0, 50.0)
    assert gain_of(record, CLASSES) == pytest.approx((1 - 0.75**2 - 0.25**2) / 2 - 0.1)


@pytest.mark.parametrize(
    ("found", "label"),
    [
        (window(50, None, quality(50, 0.1)), BINARY),
        (window(50, 0.5, quality(50, None)), BINARY),
        (window(50, 0.5, quality(50, 0.1, "shadow")), BINARY),
        (window(50, None, quality(50, 0.1)), NUMBER),
        (window(50, 0.5, quality(50, 0.1)), None),
    ],
)
def test_a_window_that_does_not_measure_the_champion_changes_nothing(found: WindowClosed, label) -> None:
    assert recorded((1.0, 2.0, 3.0, 4.0), found, label) == (1.0, 2.0, 3.0, 4.0)


def test_little_on_record_is_no_usual_gain() -> None:
    assert gain_of((99.0, 1.0, 50.0, 49.0), BINARY) is None
    assert gain_of((), BINARY) is None
    assert gain_of((100.0, 1.0, 50.0, 50.0), None) is None
