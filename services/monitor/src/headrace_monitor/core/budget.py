"""The ledger of a deployment's pages: what was stated, what was spent, what is left, and what the charts promise.

By theorem the mean time between false pages is at least the patience that follows from the budget. How far that holds for this
deployment's own windows, which depend on each other, a block bootstrap of its reference windows says (`headrace.stats.page_bootstrap`). The ledger is reported when a
page was spent, and else once per day of event time.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from headrace.events.charts import ChartsDefinition, ChartsMemory
from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import BudgetReported, FindingOpened
from headrace.events.references import ReferenceWindow, VersionReference
from headrace.stats.charts import RANKING, SIDES
from headrace.stats.e_detector import LEAST_REFERENCE, Reference
from headrace.stats.page_bootstrap import measured_pages
from headrace_monitor.core.charts import (
    OVERALL_SIDES,
    PAGING,
    limit_for,
    patience_windows,
    reference_by,
    sides_of_segments,
    windows_for,
)

PAGE = "page"
# Blocks of the bootstrap last a week at the most, so that storms stay whole; a quarter of the windows where they are few.
_BLOCK_S, _BLOCK_SHARE = 7 * 86_400.0, 4
_DAY_S = 86_400.0


def with_page(memory: ChartsMemory, found: FindingOpened) -> ChartsMemory:
    """The memory after a finding has opened; only one that pages is spent."""
    if found.severity != PAGE:
        return memory
    return replace(memory, pages={**memory.pages, found.finding: found.at_s}, page_count=memory.page_count + 1)


def measured(
    memory: ChartsMemory, deployment: DeploymentDefinition, reference: VersionReference | None
) -> ChartsMemory:
    """The memory with what the reference windows give, once it can be told for this version."""
    plan, window_s = deployment.charts, deployment.evaluation_window_s
    if plan is None or memory.measured is not None:
        return memory
    found = _references(plan, () if reference is None else reference.windows, memory.live)
    if not found:
        return memory
    count = len(found[0][0].values)
    block = max(min(round(_BLOCK_S / window_s), count // _BLOCK_SHARE), 1)
    limit = limit_for(RANKING, plan, window_s, memory, {})
    pages = measured_pages(found, limit, plan.period_s / window_s, block)
    return memory if pages is None else replace(memory, measured=pages[0], measured_high=pages[1])


def _references(
    plan: ChartsDefinition, usual: Sequence[ReferenceWindow], live: Sequence[ReferenceWindow]
) -> list[tuple[Reference, Sequence[int]]]:
    """The reference of each paging chart that has one, all of the same windows, and its sides."""
    # NB: without the season: a bootstrap that mixes the phases knows nothing of them.
    compared = {chart: windows_for(chart, plan, usual, live) for chart in PAGING}
    followed = {chart: windows for chart, windows in compared.items() if len(windows) >= LEAST_REFERENCE}
    # NB: a window that lacks a figure is left out of all charts: what they show together counts.
    starts = Counter(window.from_s for windows in followed.values() for window in windows)
    found = [
        (reference_by(chart, [window for window in windows if starts[window.from_s] == len(followed)]), SIDES[chart])
        for chart, windows in followed.items()
    ]
    return [(own, sides) for own, sides in found if own is not None]


def reported(
    memory: ChartsMemory, deployment: DeploymentDefinition, at_s: float
) -> tuple[ChartsMemory, BudgetReported | None]:
    """The memory after a window that closed at `at_s` of event time, and the ledger where it is due."""
    plan = deployment.charts
    if plan is None:
        return memory, None
    since_s, last_s = at_s if memory.since_s is None else memory.since_s, memory.reported_s
    pages = {finding: paged_s for finding, paged_s in memory.pages.items() if paged_s > at_s - plan.period_s}
    memory = replace(memory, since_s=since_s, pages=pages)
    if last_s is not None and at_s < last_s + _DAY_S and not any(paged_s > last_s for paged_s in pages.values()):
        return memory, None
    return replace(memory, reported_s=at_s), _ledger(memory, plan, deployment, at_s)


def pages_left(memory: ChartsMemory, plan: ChartsDefinition) -> float:
    """What is left of the budget in the newest period, never below 0."""
    return max(plan.pages - len(memory.pages), 0.0)


def _ledger(
    memory: ChartsMemory, plan: ChartsDefinition, deployment: DeploymentDefinition, at_s: float
) -> BudgetReported:
    return BudgetReported(
        deployment=deployment.name,
        stated=plan.pages,
        period_s=plan.period_s,
        at_s=at_s,
        charts=OVERALL_SIDES + sides_of_segments(memory),
        patience_s=patience_windows(plan, deployment.evaluation_window_s) * deployment.evaluation_window_s,
        spent=len(memory.pages),
        left=pages_left(memory, plan),
        total=memory.page_count,
        since_s=memory.since_s if memory.since_s is not None else at_s,
        measured=memory.measured,
        measured_high=memory.measured_high,
        pages=tuple(memory.pages),
    )
