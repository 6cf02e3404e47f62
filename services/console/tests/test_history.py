"""Traffic of the past: kept over a restart, once, bounded, and disposable."""

from pathlib import Path

import pytest

from headrace.latency import BUCKETS
from headrace_console.adapters import history as kept
from headrace_console.adapters.history import History
from headrace_console.core.traffic import Amount

HOUR = 500_000  # since the epoch
NOW_S = HOUR * 3600 + 1800.0
MINUTE = int(NOW_S) // 60


def amount(count: int) -> Amount:
    return Amount({"served": count}, {"1": count}, (count, *[0] * (BUCKETS - 1)))


def test_minutes_are_there_after_a_restart_and_a_minute_counts_once(tmp_path: Path) -> None:
    history = History(tmp_path / "h.sqlite")
    history.add(MINUTE - 1, {"d": amount(5)})
    history.add(MINUTE - 1, {"d": amount(7)})
    history.close()
    again = History(tmp_path / "h.sqlite")
    points = again.points("d", NOW_S)
    assert {at_s: point.outcomes for at_s, point in points.items()} == {(MINUTE - 1) * 60: {"served": 5}}
    assert again.answers(MINUTE - 30) == [(MINUTE - 1, {"d": 5})]
    again.close()


def test_what_is_older_than_three_hours_is_shown_by_the_hour(tmp_path: Path) -> None:
    history = History(None)
    for minute in range((HOUR - 5) * 60, HOUR * 60 + 30):
        history.add(minute, {"d": amount(1)})
    points = history.points("d", NOW_S)
    hours = {at_s: point for at_s, point in points.items() if point.width_s == 3600}
    assert {at_s // 3600 - HOUR: point.outcomes["served"] for at_s, point in hours.items()} == {-5: 60, -4: 60, -3: 60}
    assert sum(point.outcomes["served"] for point in points.values()) == 5 * 60 + 30
    history.close()


def test_traffic_of_another_log_is_dropped(tmp_path: Path) -> None:
    for source, found in (("a", []), ("a", [(MINUTE, {"d": 5})]), ("b", [])):
        history = History(tmp_path / "h.sqlite", source)
        assert history.answers(0) == found
        history.add(MINUTE, {"d": amount(5)})
        history.close()


def test_what_is_too_old_is_dropped() -> None:
    history = History(None)
    history.add(MINUTE - 8 * 1440, {"d": amount(1)})
    history.add(MINUTE, {"d": amount(2)})
    assert sum(point.outcomes["served"] for point in history.points("d", NOW_S).values()) == 2
    assert history.answers(0) == [(MINUTE, {"d": 2})]
    history.close()


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(content)
    history = History(path)
    history.add(MINUTE, {"d": amount(3)})
    assert history.answers(0) == [(MINUTE, {"d": 3})]
    history.close()


def test_the_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 400_000)
    history = History(None)
    for minute in range(MINUTE - 600, MINUTE):
        history.add(minute, {f"deployment-{n}": amount(n) for n in range(20)})
    assert history.held_bytes < 2_000_000
    assert len(history.answers(0)) > 180
    history.close()
