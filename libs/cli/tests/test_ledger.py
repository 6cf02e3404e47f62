"""`headrace monitor ledger`: the newest ledger in words, and the way out where there is none."""

import asyncio
import io
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from headrace.errors import Misconfigured
from headrace.events.audit import AuditReported
from headrace.events.monitor import BudgetReported
from headrace_cli.evidence.ledger import lines_of, newest_ledger

DAY = 86_400.0
LEDGER = BudgetReported("d", 1.0, 30 * DAY, 60 * DAY, 6, 30 * DAY, 1, 0.0, 3, 0.0, 0.012, 0.03, ("abc",))

AUDIT = AuditReported("d", 0.1, 0.0, 56 * DAY, 4, 1, 0.25, 0.006, 0.806, 0.05, 0, 0.0, 0.0, 0.602, 0.015)


class Held:
    """What a log holds, and what is declared."""

    def __init__(self, *events: Any, charts: object = None) -> None:
        self.events, self.charts = events, charts
        self.projects = self

    async def all_of(self, base: str) -> list[Any]:
        return [SimpleNamespace(event=event) for event in self.events]

    def declared(self, name: str) -> tuple[None, Any]:
        return None, SimpleNamespace(charts=self.charts)


def newest(held: Any) -> tuple[BudgetReported | None, AuditReported | None]:
    return asyncio.run(newest_ledger(held, "d"))


def test_the_newest_ledger_of_the_deployment_is_shown() -> None:
    older = BudgetReported("d", 1.0, 30 * DAY, 59 * DAY, 6, 30 * DAY, 0, 1.0, 2, 0.0)
    other = BudgetReported("e", 1.0, 30 * DAY, 90 * DAY, 6, 30 * DAY, 0, 1.0, 2, 0.0)
    assert newest(Held(LEDGER, older, other)) == (LEDGER, None)
    assert newest(Held(AUDIT, replace(AUDIT, at_s=55 * DAY, trials=3))) == (None, AUDIT)


def test_without_charts_the_way_out_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"monitoring=\[Charts\(\)\]"):
        newest(Held())
    with pytest.raises(Misconfigured, match="the ledger comes with the next one"):
        newest(Held(charts=object()))


def test_the_ledger_says_what_was_stated_spent_and_left_by_theorem_and_by_bootstrap() -> None:
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(lines_of(LEDGER, AUDIT))
    text = console.export_text()
    for part in (
        "at most 1 false page per 30d of event time",
        "1 in the newest 30d, 3 since 1970-01-01",
        "a false page after 30 days or more in the mean, over 6 sides of charts",
        "0.012 false pages per 30d, at most 0.03 in 95 % of stretches of twelve",
        "headrace finding show abc",
        "0.1 of the units, 4 trials since 1970-01-01",
        "1 of 4, 25 % (0.6 % to 80.6 %); stated: at most 5 %",
        "0 of 4, 0 % (0 % to 60.2 %); stated: at most 1.5 %",
    ):
        assert part in text
