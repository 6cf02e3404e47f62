"""The first page: is all well?

"All is well" must be earned. The mark, the first that holds:

| mark      | when                                                                                        |
|-----------|---------------------------------------------------------------------------------------------|
| page      | a page needs a person                                                                       |
| attention | anything else needs a person                                                                |
| unknown   | something that would show a fault is not there (`why_unknown`), or an alert that fires is silenced |
| ok        | else                                                                                        |
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace_console.core.deployments import mark_and_why, row_of
from headrace_console.core.documents import Mark, Need, Now
from headrace_console.core.needs import needs_of
from headrace_console.core.world import World

# What was read longer ago than this is not the present.
STALE_S = 10.0
# Rows are looked at again so often although nothing changed: a minute moves on, a silence ends.
ROW_S = 15.0
_Row = tuple[tuple[int, ...], float, dict[str, Any], str]


class Table:
    """The rows of the first page, each computed again only when its deployment has changed."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def document(self, world: World, now_s: float, as_of_s: Mapping[str, float | None]) -> dict[str, Any]:
        """The document `now` as plain values. `as_of_s`: until when each group of topics was read, None for not yet."""
        names = world.names()
        self._rows = {name: self._row(world, name, now_s) for name in names}
        needs = needs_of(world, now_s)
        unknown = why_unknown(world, now_s, as_of_s) or self._unknown()
        mark, word = verdict_of(needs, unknown)
        clocks = [row[2]["event_at_s"] for row in self._rows.values() if row[2]["event_at_s"] is not None]
        clocks += [at_s for found in world.reports.fresh("feature", now_s) for at_s in found.newest_event_s.values()]
        empty = "" if world.projects else "no project"
        found = msgspec.to_builtins(Now(mark, word, max(clocks, default=None), needs, {}, empty))
        found["deployments"] = {name: row[2] for name, row in self._rows.items()}
        return found

    def _row(self, world: World, name: str, now_s: float) -> _Row:
        count = world.count(f"deployment/{name}", f"windows/{name}", f"traffic/{name}", "alerts")
        known = self._rows.get(name)
        if known is not None and known[0] == count and now_s - known[1] < ROW_S:
            return known
        _, why = mark_and_why(world, name, now_s)
        return count, now_s, msgspec.to_builtins(row_of(world, name, now_s)), why

    def _unknown(self) -> str:
        """Which deployments nobody knows enough about."""
        found = {name: row[3] for name, row in self._rows.items() if row[3]}
        if not found:
            return ""
        name, why = next(iter(found.items()))
        more = f", and {len(found) - 1} more deployments are not known" if len(found) > 1 else ""
        return f"{name} is not known: {why}{more}"


def verdict_of(needs: Mapping[str, Need], unknown: str) -> tuple[Mark, str]:
    """The mark of the whole, and its words.

    >>> verdict_of({}, ""), verdict_of({}, "the monitor does not run")
    (('ok', 'all is well'), ('unknown', 'the monitor does not run'))
    """
    marks = [need.mark for need in needs.values() if need.kind != "silenced"]
    silenced = f", {len(needs) - len(marks)} silenced" if len(needs) > len(marks) else ""
    if marks:
        words = "1 thing needs a person" if len(marks) == 1 else f"{len(marks)} things need a person"
        return ("page" if "page" in marks else "attention"), words + silenced
    if unknown:
        return "unknown", unknown + silenced
    return ("unknown" if silenced else "ok"), f"all is well{silenced}"


def why_unknown(world: World, now_s: float, as_of_s: Mapping[str, float | None]) -> str:
    """What is missing without which a fault would not show; "" when nothing is."""
    for group, read_s in sorted(as_of_s.items()):
        if read_s is None:
            return f"{group} is being read for the first time"
        if now_s - read_s > STALE_S:
            return f"{group} was last read to its end {now_s - read_s:.0f} s ago"
    if not world.projects:
        return "no project is applied"
    if world.refused:
        return f"the definition of project {next(iter(world.refused))} is ignored: {next(iter(world.refused.values()))}"
    for service in expected(world):
        if not world.reports.fresh(service, now_s):
            return f"{service} does not report"
    return ""


def expected(world: World) -> list[str]:
    """The services that must report, by what is applied; the monitor first, without whom no alert would come."""
    definitions = [applied.definition for applied in world.projects.values()]
    deployments = [found for definition in definitions for found in definition.deployments]
    wanted = (
        ("monitor", bool(deployments)), ("registry", bool(deployments)), ("inference", bool(deployments)),
        ("feature", any(definition.views for definition in definitions)),
        ("pipeline", any(definition.pipelines for definition in definitions)),
        ("trainer", any(found.training is not None for found in deployments)),
    )  # fmt: skip
    return [service for service, is_needed in wanted if is_needed]
