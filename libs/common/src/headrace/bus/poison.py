"""When poison is no longer an accident: a wrong deploy must not empty a topic into the dead letters."""

from dataclasses import dataclass, field

IN_A_ROW = 100
SHARE = 0.05
WINDOW = 10_000


@dataclass(slots=True)
class PoisonLedger:
    """Counts per topic. The limit trips after more than 100 in a row, or more than 5 % of the last 10,000 records."""

    _in_a_row: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)
    _bad: dict[str, int] = field(default_factory=dict)

    def good(self, topic: str, count: int = 1) -> None:
        """So many records, one after the other, were understood."""
        if count:
            self._in_a_row[topic] = 0
            self._count(topic, 0, count)

    def bad(self, topic: str) -> bool:
        """A record was not; returns whether the topic must be stopped."""
        self._in_a_row[topic] = self._in_a_row.get(topic, 0) + 1
        self._count(topic, 1, 1)
        return self._in_a_row[topic] > IN_A_ROW or self._bad[topic] > SHARE * WINDOW

    def _count(self, topic: str, bad: int, count: int) -> None:
        if self._seen.get(topic, 0) >= WINDOW:
            self._seen[topic], self._bad[topic] = 0, 0
        self._seen[topic] = self._seen.get(topic, 0) + count
        self._bad[topic] = self._bad.get(topic, 0) + bad
