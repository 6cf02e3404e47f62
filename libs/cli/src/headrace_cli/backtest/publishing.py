"""A back-test's report as the record that the console shows: without the rows, its curves thinned."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.events.backtests import BacktestPolicy, BacktestReported

# A curve has so many points at the most.
MOST_POINTS = 200


def reported(report: Mapping[str, Any], faults: Sequence[str] = ()) -> BacktestReported:
    """The record of a report (see `headrace_backtest.report`). `faults`: those that were planted."""
    at_s = report["curves"]["at_s"]
    chosen = thinned(len(at_s), MOST_POINTS)
    gained = report["curves"]["gained"]
    return BacktestReported(
        deployment=report["deployment"],
        from_s=report["from_s"],
        to_s=report["to_s"],
        requests=report["requests"],
        labelled=report["labelled"],
        loss=report["loss"],
        never=report["never"]["loss"],
        always=report["always"]["gain"],
        always_retrains=report["always"]["retrains"],
        policies=tuple(_policy(one, [gained[one["name"]][n] for n in chosen]) for one in report["policies"]),
        curve_at_s=tuple(at_s[n] for n in chosen),
        faults=tuple(faults),
    )


def thinned(count: int, most: int) -> list[int]:
    """At most `most` places of `count`, at about equal distances; the last is always among them.

    >>> thinned(3, 5), thinned(10, 4)
    ([0, 1, 2], [2, 4, 7, 9])
    """
    kept = min(count, most)
    return [math.ceil((n + 1) * count / kept) - 1 for n in range(kept)]


def _policy(found: Mapping[str, Any], curve: Sequence[float]) -> BacktestPolicy:
    gain = found["gain"]
    return BacktestPolicy(
        name=found["name"],
        alarms=found["alarms"],
        pages=found["pages"],
        false_alarms=found["false_alarms"],
        allowed=found["allowed"],
        asked=found["asked"],
        retrains_s=tuple(one["ready_s"] for one in found["retrains"]),
        gain=gain["mean"],
        low=gain["low"],
        high=gain["high"],
        among_phases=found["percentile_of_phases"],
        among_random=found["percentile_of_random"],
        by_timing=found["percentile_by_timing"],
        curve=tuple(curve),
    )
