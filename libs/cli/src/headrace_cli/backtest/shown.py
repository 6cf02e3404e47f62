"""A back-test's report for people: a table with one row per policy, its retrains, and curves of what was gained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.project.applicable.wording import duration
from headrace_cli.replay.plot import sparkline
from headrace_cli.terminal.render import instant

COLUMNS = (
    "policy",
    "alarms",
    "not_planted",
    "found_after",
    "retrains",
    "gain",
    "among_phases",
    "among_random",
    "by_timing",
)
RETRAIN_COLUMNS = ("policy", "asked", "cause", "outcome", "answers_from", "rows", "gain")
_WIDTH = 60
_A_DAY_S, _AN_HOUR_S = 86_400.0, 3600.0

Values = Mapping[str, Any]


def head(report: Values) -> str:
    """What was replayed."""
    return (
        f"{report['deployment']}: {report['requests']:,} requests from {instant(report['from_s'])} to"
        f" {instant(report['to_s'])}, {report['labelled']:,} with a label; {report['loss']}"
        f" {report['never']['loss']:.4f} without any retrain"
    )


def rows(report: Values) -> list[dict[str, Any]]:
    """One row per policy; never and always beside them."""
    found = [_policy_row(policy) for policy in report["policies"]]
    always = report["always"]
    return [
        *found,
        {"policy": "never", "retrains": 0, "gain": "0"},
        {"policy": "always", "retrains": always["retrains"], "gain": f"{always['gain']:+.4f}"},
    ]


def retrain_rows(report: Values) -> list[dict[str, Any]]:
    """One row per retrain that was asked for."""
    return [
        {
            "policy": policy["name"],
            "asked": instant(one["at_s"]),
            "cause": one["cause"],
            "outcome": one["outcome"],
            "answers_from": instant(one["ready_s"]),
            "rows": f"{one['gain']['rows']:,}",
            "gain": gain_text(one["gain"]),
        }
        for policy in report["policies"]
        for one in policy["retrains"]
    ]


def curves(report: Values) -> Iterator[str]:
    """Per policy what it had gained by then, on one scale, with its retrains below (^)."""
    from_s, to_s = report["from_s"], report["to_s"]
    gained = report["curves"]["gained"]
    every = [value for values in gained.values() for value in values]
    low, high = min(every, default=0.0), max(every, default=0.0)
    width = max((len(name) for name in gained), default=0)
    for policy in report["policies"]:
        values = gained[policy["name"]]
        step = max(len(values) // _WIDTH, 1)
        line = sparkline(values[step - 1 :: step], low, high)
        yield f"{policy['name']:>{width}} {line} {policy['gain']['mean']:+.4f}"
        marks = [" "] * len(line)
        for one in policy["retrains"]:
            place = int((one["ready_s"] - from_s) / (to_s - from_s) * len(line))
            marks[min(max(place, 0), len(line) - 1)] = "^"
        if policy["retrains"]:
            yield f"{'':>{width}} {''.join(marks)} retrains"


def feet(report: Values) -> Iterator[str]:
    """How to read the table."""
    yield (
        "gain: how much lower the loss is per request than without any retrain, on the same requests [bounds of 90 %, by blocks"
        f" of days]; among: the percentile of the gain among calendars that retrain as often, at each phase, and"
        f" {report['random_calendars']:,} at random; by timing: the same of its instants alone, when all train alike"
    )
    yield from dict.fromkeys(_beside_calendars(policy) for policy in report["policies"])
    yield from (f"note: {note}" for note in report["notes"])


def _beside_calendars(policy: Values) -> str:
    count, calendars = len(policy["retrains"]), policy["calendars"]
    if not count:
        return f"note: {policy['name']} did not retrain, so that it lies in the middle of calendars that do not either"
    return (
        f"note: {count} retrain{'s' * (count > 1)} at random gain {calendars['median']:+.4f} in the median"
        f" ({calendars['low']:+.4f} to {calendars['high']:+.4f} in nine of ten)"
    )


def gain_text(gain: Values) -> str:
    """A gain with its bounds.

    >>> gain_text({"mean": 0.0123, "low": 0.001, "high": 0.02, "rows": 9})
    '+0.0123 [+0.0010, +0.0200]'
    """
    if gain["low"] is None:
        return f"{gain['mean']:+.4f}"
    return f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"


def _policy_row(policy: Values) -> dict[str, Any]:
    pages = f" ({policy['pages']} pages)" if policy["pages"] else ""
    allowed = "" if policy["allowed"] is None else f" of {policy['allowed']:.2g} allowed"
    return {
        "policy": policy["name"],
        "alarms": f"{policy['alarms']}{pages}",
        "not_planted": f"{policy['false_alarms']}{allowed}",
        "found_after": _delays(policy["delays"]),
        "retrains": f"{len(policy['retrains'])} of {policy['asked']} asked",
        "gain": gain_text(policy["gain"]),
        "among_phases": f"{policy['percentile_of_phases']:.0f}",
        "among_random": f"{policy['percentile_of_random']:.0f}",
        "by_timing": f"{policy['percentile_by_timing']:.0f}",
    }


def _delays(delays: Sequence[Values]) -> str:
    return "; ".join(
        f"{delay['plant'].partition('@')[0]} never" if delay["delay_s"] is None else _delay(delay) for delay in delays
    )


def _delay(delay: Values) -> str:
    seconds = round(delay["delay_s"] / _AN_HOUR_S) * _AN_HOUR_S
    return f"{delay['plant'].partition('@')[0]} {duration(seconds)} ({delay['by']})"
