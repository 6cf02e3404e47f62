"""The efficacy figure: what a new champion gains per request over the one before it, on the same requests.

After a switch the previous version scores along (`shadow_previous` of the rollout). Both are compared by the bounded score that
rollouts are judged by, on the labelled requests of closed windows that the new one answered and the previous one scored. Days are
the blocks: the bounds are those of the level test (`headrace.stats.level`), so they hold at every look. The figure is reported
once per day of event time, and for the last time when the days that were asked for are over or another version is champion.
Where the previous version does not score along there is no figure.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from headrace.events.definition import LabelDefinition
from headrace.events.efficacy import EfficacyKept, EfficacyReported, Paired
from headrace.project.labels import NUMBER
from headrace.stats.level import level
from headrace.stats.scores import differences
from headrace.step import Step
from headrace_monitor.core.scored import Floats, Scored

DAY_S = 86_400.0
# One-sided, of each bound.
ALPHA = 0.05

EfficacyStep = Step[EfficacyKept | None, EfficacyReported]


def pairs_of(label: LabelDefinition | None, scored: Sequence[Scored]) -> tuple[Paired, ...]:
    """Each version that answered beside each that scored along, on their common rows. `scored`: with labels, of one window."""
    return tuple(_pairs(label, scored)) if label is not None else ()


def _pairs(label: LabelDefinition, scored: Sequence[Scored]) -> Iterator[Paired]:
    for ours in (one for one in scored if one.role == "champion"):
        for theirs in (one for one in scored if one.role == "shadow" and one.version != ours.version):
            _, mine, other = np.intersect1d(ours.rows, theirs.rows, return_indices=True)
            if not len(mine) or ours.scores[mine].shape != theirs.scores[other].shape:
                continue
            new, control, labels = ours.scores[mine], theirs.scores[other], ours.labels[mine]
            if label.kind == NUMBER:
                if label.low is None or label.high is None:
                    continue
                new, control, labels = (_scaled(label.low, label.high, found) for found in (new, control, labels))
            apart = differences(label.kind, new, control, labels).seen
            yield Paired(ours.version, theirs.version, len(mine), -float(apart.sum()))


def _scaled(low: float, high: float, found: Floats) -> Floats:
    return (found - low) / (high - low)


def on_switch(deployment: str, kept: EfficacyKept | None, version: int, previous: int | None) -> EfficacyStep:
    """Another version is champion. `previous`: the one before it, None where there was none."""
    last = () if kept is None or not kept.days else (_report(deployment, kept, kept.reported_s, is_final=True),)
    return Step(None if previous is None else EfficacyKept(version, previous), last)


def on_window(
    deployment: str,
    efficacy_s: float | None,
    kept: EfficacyKept | None,
    pairs: Iterable[Paired],
    from_s: float,
    to_s: float,
) -> EfficacyStep:
    """A window from `from_s` to `to_s` has closed. `efficacy_s`: how long is measured, None for not at all."""
    if kept is None or efficacy_s is None:
        return Step(None)
    found = next((pair for pair in pairs if (pair.version, pair.other) == (kept.version, kept.previous)), None)
    if found is not None:
        since_s = from_s if kept.since_s is None else kept.since_s
        kept = replace(kept, since_s=since_s, days=_with(kept.days, from_s, found))
    if kept.since_s is None:
        return Step(kept)
    is_final = to_s >= kept.since_s + efficacy_s
    if not is_final and math.floor(to_s / DAY_S) <= math.floor(max(kept.reported_s, kept.since_s) / DAY_S):
        return Step(kept)
    report = _report(deployment, kept, to_s, is_final=is_final)
    return Step(None if is_final else replace(kept, reported_s=to_s, low=report.low), (report,))


def has_gained(kept: EfficacyKept | None) -> bool:
    """Whether the champion is shown to do better than the version before it, by the newest report."""
    return kept is not None and kept.low is not None and kept.low > 0


def _with(
    days: tuple[tuple[float, int, float], ...], from_s: float, pair: Paired
) -> tuple[tuple[float, int, float], ...]:
    day_s = math.floor(from_s / DAY_S) * DAY_S
    if days and days[-1][0] == day_s:
        *before, (_, rows, gain) = days
        return (*before, (day_s, rows + pair.rows, gain + pair.gain))
    return (*days, (day_s, pair.rows, pair.gain))


def _report(deployment: str, kept: EfficacyKept, at_s: float, *, is_final: bool) -> EfficacyReported:
    rows, gains = [rows for _, rows, _ in kept.days], [gain for *_, gain in kept.days]
    found = level(rows, gains)
    low, high = float(found.low(ALPHA)), float(found.high(ALPHA))
    is_bounded = math.isfinite(low) and math.isfinite(high)
    return EfficacyReported(
        deployment,
        kept.version,
        kept.previous,
        kept.since_s or 0.0,
        max(at_s, kept.since_s or 0.0),
        len(kept.days),
        sum(rows),
        float(found.mean),
        low if is_bounded else None,
        high if is_bounded else None,
        is_final,
    )
