"""The silences that are in force or will be, and the mark that they leave on alerts.

Whether a record is sound is decided in `headrace.hosting.silences`, for the command line and the console too.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from headrace.events.alerts import AlertChanged, SilenceSet
from headrace.hosting import silences as rules
from headrace_monitor.core.facts import Refused


def refuse(event: Any, key: str, append_s: float) -> Refused | None:
    """Why a record of `alerts.silences` must be dead-lettered; None when it is sound. An event of None deletes."""
    found = rules.why_not_record(event, key, append_s)
    return None if found is None else Refused(*found)


class Silences:
    """What a view of `alerts.silences` has read. It changes in place."""

    def __init__(self) -> None:
        self.known: dict[str, SilenceSet] = {}

    def on_record(self, event: Any, key: str, append_s: float) -> None:
        """Take a record; one that is refused changes nothing."""
        self.known = rules.taken(self.known, event, key, append_s)

    def marked(self, alert: AlertChanged, now_s: float) -> AlertChanged:
        """The alert with the mark of the silence that covers it now, or without one; its end may be silent too."""
        mark = rules.mark_of(rules.covering(self.known.values(), alert.labels, now_s))
        return alert if alert.silence == mark else replace(alert, silence=mark)

    def changed(self, firing: Iterable[AlertChanged], now_s: float) -> list[AlertChanged]:
        """Of firing alerts those whose mark is another now: a silence began, was replaced, or is over."""
        return [marked for alert in firing if (marked := self.marked(alert, now_s)) is not alert]
