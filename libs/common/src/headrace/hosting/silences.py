"""Silences: which are sound, which is in force, and which alerts it covers. An alert opens and ends as ever while it is silent.

A silence covers an alert that has all of its labels with the same values (the equality matchers of Alertmanager). It ends by the
clock, or by a `SilenceEnded` before. Everything here is a value: nothing asks a clock.
"""

import math
from collections.abc import Iterable, Mapping

from headrace.events.alerts import AlertSilence, SilenceEnded, SilenceSet
from headrace.log.envelope import format_instant

# The retention of the topic is longer: a silence in force can always be read.
LONGEST_S = 90 * 86_400.0
MOST = 1_000
MATCHERS, LABEL_CHARS, VALUE_CHARS = 10, 100, 200
ID_CHARS, BY_CHARS, REASON_CHARS = 100, 100, 500


def why_not(event: SilenceSet | SilenceEnded, append_s: float) -> tuple[str, str] | None:
    """Why a silence (or its end) cannot be meant, and the field to blame; None when it is sound.

    `append_s`: when its record was, or will be, appended to the log.
    """
    texts = (("id", event.id, ID_CHARS), ("by", event.by, BY_CHARS), ("reason", event.reason, REASON_CHARS))
    for field, text, most in texts:
        if not 0 < len(text.strip()) <= len(text) <= most:
            return f"{field} must have 1 to {most} characters, got {len(text):,}", field
    if not event.id.isprintable():
        return f"id has characters that cannot be printed: {event.id!r}", "id"
    return None if isinstance(event, SilenceEnded) else _unmatched(event.matchers) or _untimed(event, append_s)


def _unmatched(matchers: Mapping[str, str]) -> tuple[str, str] | None:
    if not 0 < len(matchers) <= MATCHERS:
        return f"a silence has 1 to {MATCHERS} labels that an alert must have, got {len(matchers):,}", "matchers"
    for name, value in matchers.items():
        if not 0 < len(name) <= LABEL_CHARS or len(value) > VALUE_CHARS:
            sizes = f"{len(name):,} and {len(value):,}"
            return f"a label has at most {LABEL_CHARS} and its value {VALUE_CHARS} characters, got {sizes}", "matchers"
    return None


def _untimed(event: SilenceSet, append_s: float) -> tuple[str, str] | None:
    if not (math.isfinite(event.starts_s) and math.isfinite(event.ends_s) and 0 <= event.starts_s < event.ends_s):
        return f"a silence begins before it ends, got {event.starts_s!r} and {event.ends_s!r}", "ends_s"
    if event.ends_s > append_s + LONGEST_S:
        days = (event.ends_s - append_s) / 86_400
        return f"a silence ends within {LONGEST_S / 86_400:.0f} days, got {days:,.1f} days", "ends_s"
    return None


def why_not_record(event: object, key: str, append_s: float) -> tuple[str, str] | None:
    """Why a record of `alerts.silences` counts for nothing, and the field to blame; None when it is sound, or deletes."""
    if not isinstance(event, SilenceSet | SilenceEnded):
        return None
    if key != event.id:
        return f"the key of a silence is its id {event.id[:ID_CHARS]!r}, got {key[:ID_CHARS]!r}", "id"
    return why_not(event, append_s)


def taken(silences: Mapping[str, SilenceSet], event: object, key: str, append_s: float) -> dict[str, SilenceSet]:
    """The silences after a record of `alerts.silences`; one that is not sound changes nothing, None deletes."""
    if event is None:
        return {ident: found for ident, found in silences.items() if ident != key}
    if isinstance(event, SilenceSet | SilenceEnded) and why_not_record(event, key, append_s) is None:
        return apply(silences, event, append_s)
    return dict(silences)


def apply(silences: Mapping[str, SilenceSet], event: SilenceSet | SilenceEnded, now_s: float) -> dict[str, SilenceSet]:
    """The silences after this one was set, or ended. Those that ended before `now_s` go.

    Beyond `MOST` the one that ends first goes: the error of too many is that somebody is paged.
    """
    kept = {ident: found for ident, found in silences.items() if ident != event.id and now_s < found.ends_s}
    if isinstance(event, SilenceSet) and now_s < event.ends_s:
        kept[event.id] = event
    if len(kept) > MOST:
        del kept[min(kept, key=lambda ident: (kept[ident].ends_s, ident))]
    return kept


def in_force(silences: Mapping[str, SilenceSet], now_s: float) -> dict[str, SilenceSet]:
    """The silences that are not over at `now_s`."""
    return {ident: found for ident, found in silences.items() if now_s < found.ends_s}


def is_covered(silence: SilenceSet, labels: Mapping[str, str], now_s: float) -> bool:
    """Whether a silence is in force now, and an alert of these labels among those it is for.

    >>> found = SilenceSet("s", {"deployment": "d"}, 10.0, 20.0, "ann", "tests")
    >>> [is_covered(found, {"deployment": "d", "severity": "warning"}, at_s) for at_s in (9.9, 10.0, 20.0)]
    [False, True, False]
    """
    is_on = silence.starts_s <= now_s < silence.ends_s
    return is_on and all(labels.get(name) == value for name, value in silence.matchers.items())


def covering(silences: Iterable[SilenceSet], labels: Mapping[str, str], now_s: float) -> SilenceSet | None:
    """The silence that covers an alert of these labels now, of several the one that lasts longest; None for none."""
    found = [silence for silence in silences if is_covered(silence, labels, now_s)]
    return max(found, key=lambda silence: (silence.ends_s, silence.id)) if found else None


def mark_of(silence: SilenceSet | None) -> AlertSilence | None:
    """A silence as it is noted in the record of an alert."""
    if silence is None:
        return None
    return AlertSilence(silence.id, silence.by, silence.reason, format_instant(silence.ends_s))
