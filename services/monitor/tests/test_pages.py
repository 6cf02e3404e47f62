"""Pages: how many alerts called a person within the last 30 days."""

from headrace.events.alerts import AlertChanged
from headrace.hosting.alerts import Alarm, fire, resolve
from headrace_monitor.core.pages import MOST, WITHIN_S, Pages

NOW_S = 1_780_000_000.0


def alert(number: int, at_s: float = NOW_S, severity: str = "critical") -> AlertChanged:
    return fire(Alarm("ServiceDown", {"service": f"s{number}"}, severity, "it is down", "headrace status"), at_s)


def test_an_alert_that_begins_counts_once_and_its_end_is_no_page() -> None:
    pages, first = Pages(), alert(1)
    for found in (first, resolve(first, NOW_S + 60), first):
        pages.note(found)
    assert pages.count(NOW_S + 60) == 1
    pages.note(alert(1, NOW_S + 3600))
    assert pages.count(NOW_S + 3600) == 2


def test_a_warning_calls_nobody() -> None:
    pages = Pages()
    pages.note(alert(1, severity="warning"))
    assert pages.count(NOW_S) == 0


def test_a_page_counts_for_thirty_days() -> None:
    pages = Pages()
    pages.note(alert(1))
    pages.note(alert(2, NOW_S + 86_400))
    assert pages.count(NOW_S + WITHIN_S - 1) == 2
    assert pages.count(NOW_S + WITHIN_S) == 1
    assert pages.count(NOW_S + WITHIN_S + 86_400) == 0


def test_a_flood_of_pages_is_bounded_and_the_newest_are_kept() -> None:
    pages = Pages()
    for number in range(MOST + 10):
        pages.note(alert(number, NOW_S + number))
    assert pages.count(NOW_S + MOST) == MOST
    assert pages.count(NOW_S + WITHIN_S + 11) == MOST - 2
