"""Whether a source is as usual: it still sends, its columns are still filled, and their numbers have the same size.

Each is judged against the newest windows in which the source was as usual, at least seven of them:
- The source has stopped when fewer than a fifth of the median count of events came.
- A column goes null when its null share lies .5 above the highest one of these windows. (The storm of February 2013
  cancelled up to 70 % of a day's flights, whose delays are null.)
- The unit of a column has changed when the logarithm of its magnitude (the .9 quantile of absolute values) lies further from
  the median of these windows than log 3, than six normal-consistent median absolute deviations, and than one and a half times
  their largest deviation.
On the flights of 2013 (two delays, eight weather columns, a day per window) the last rule has to be this wide, because storms
move delays tenfold. As it is, it found something on one of 3,600 column-days, and it finds minutes that are sent as seconds or
as hours. A factor below three cannot be told from weather.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.events.monitor import ColumnProfile, FindingOpened, SourceProfile, WindowClosed
from headrace.log.envelope import derived_id

WINDOWS_KEPT = 28
_FEWEST_WINDOWS = 7
_STOPPED_SHARE = 0.2
_NULL_STEP = 0.5
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Broken:
    """One thing that is not as usual.

    `kind`: `traffic` or `contract`. `about`: the source, or `source.column`. `summary`: in words. `measured`, `limit`: the
    figure and what it was compared with.
    """

    kind: str
    about: str
    summary: str
    measured: float
    limit: float


def judge(history: Sequence[SourceProfile], now: SourceProfile) -> list[Broken]:
    """What is not as usual; nothing while the history is shorter than seven windows.

    `history`: profiles of the same source in windows in which it was as usual, newest last.
    """
    usual = list(history)[-WINDOWS_KEPT:]
    if len(usual) < _FEWEST_WINDOWS:
        return []
    stopped = _stopped(usual, now)
    if stopped is not None:
        return [stopped]
    found: list[Broken] = []
    for name, column in now.columns.items():
        before = [profile.columns[name] for profile in usual if name in profile.columns]
        if len(before) >= _FEWEST_WINDOWS:
            about = f"{now.source}.{name}"
            found += [broken for broken in (_null(about, before, column), _scale(about, before, column)) if broken]
    return found


def _stopped(usual: Sequence[SourceProfile], now: SourceProfile) -> Broken | None:
    expected = float(np.median([profile.events for profile in usual]))
    limit = _STOPPED_SHARE * expected
    if now.events >= limit:
        return None
    how = "has stopped" if now.events == 0 else "sends little"
    summary = f"source {now.source} {how}: {now.events:,} events in the window, usually {expected:,.0f}"
    return Broken("traffic", now.source, summary, now.events, limit)


def _null(about: str, before: Sequence[ColumnProfile], now: ColumnProfile) -> Broken | None:
    limit = max(column.null_share for column in before) + _NULL_STEP
    if now.null_share <= limit:
        return None
    usual = float(np.median([column.null_share for column in before]))
    summary = f"{about} goes null: {now.null_share:.0%} of its values, usually {usual:.0%}"
    return Broken("contract", about, summary, now.null_share, limit)


def _scale(about: str, before: Sequence[ColumnProfile], now: ColumnProfile) -> Broken | None:
    known = [column.magnitude for column in before if column.magnitude]
    if not now.magnitude or len(known) < _FEWEST_WINDOWS:
        return None
    logs = np.log(known)
    middle = float(np.median(logs))
    spread = np.abs(logs - middle)
    limit = max(math.log(3.0), 6.0 * _MAD_TO_SIGMA * float(np.median(spread)), 1.5 * float(spread.max()))
    shift = math.log(now.magnitude) - middle
    if abs(shift) <= limit:
        return None
    factor = math.exp(abs(shift))
    change = f"{factor:.3g} times {'larger' if shift > 0 else 'smaller'}"
    summary = f"the numbers of {about} are {change} than usual: another unit? (.9 quantile {now.magnitude:.4g})"
    return Broken("contract", about, summary, factor, math.exp(limit))


def source_finding(broken: Broken, window: WindowClosed) -> FindingOpened:
    """The finding that a source is not as usual."""
    return FindingOpened(
        finding=derived_id(window.deployment, broken.kind, broken.about, window.from_s)[:16],
        deployment=window.deployment,
        kind=broken.kind,
        summary=broken.summary,
        at_s=window.to_s,
        detector="profile",
        measured=broken.measured,
        limit=broken.limit,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=broken.about,
    )
