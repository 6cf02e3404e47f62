"""How many alerts paged a person within the last 30 days: the first figure of a budget of pages."""

from collections import OrderedDict

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import parse_instant

PAGING = "critical"
WITHIN_S = 30 * 86_400.0
# Beyond so many the oldest are forgotten: nobody's budget is as large.
MOST = 10_000


class Pages:
    """The pages that are known, each once. After a restart it knows those that the compacted topic still has."""

    def __init__(self) -> None:
        self._began_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, alert: AlertChanged) -> None:
        """An alert began or ended; the same episode counts once, and none that a silence covers."""
        if alert.labels.get("severity") == PAGING and alert.silence is None:
            self._began_s.setdefault((alert.fingerprint, alert.starts_at), parse_instant(alert.starts_at))
            if len(self._began_s) > MOST:
                self._began_s.popitem(last=False)

    def count(self, now_s: float) -> int:
        """How many began within the 30 days before `now_s` (seconds since the epoch)."""
        self._began_s = OrderedDict(
            (page, began_s) for page, began_s in self._began_s.items() if began_s > now_s - WITHIN_S
        )
        return len(self._began_s)
