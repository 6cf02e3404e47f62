"""Complete decisions: scores of shadows that came after the commit join their decision.

A decision names in `shadows_due` the versions that had not answered when it was committed. Each follows as one
`ShadowScored` on the same partition. Readers join by deployment, request and version, and keep the first.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from headrace.events.inference import DecisionMade, ShadowScored


def joined(events: Iterable[object]) -> list[DecisionMade]:
    """The decisions among `events`, in order, each with the late scores of its shadows. Other events are skipped.

    A shadow without a late score stays in `shadows_due`.
    """
    decisions: list[DecisionMade] = []
    late: dict[tuple[str, str], list[ShadowScored]] = {}
    for event in events:
        if isinstance(event, DecisionMade):
            decisions.append(event)
        elif isinstance(event, ShadowScored):
            late.setdefault((event.deployment, event.request_id), []).append(event)
    return [with_late(found, late.get((found.deployment, found.request_id), ())) for found in decisions]


def with_late(decision: DecisionMade, late: Iterable[ShadowScored]) -> DecisionMade:
    """One decision with its late shadows.

    >>> from headrace.events.inference import Expired, Score
    >>> made = DecisionMade("r", "d", "u", 0.0, Expired(1), 0, shadows_due=(3,))
    >>> whole = with_late(made, [ShadowScored("r", "d", "u", 3, 0.0, Score(3, "", 0.5))])
    >>> whole.shadows_due, [score.value for score in whole.shadows]
    ((), [0.5])
    """
    due = list(decision.shadows_due)
    if not due:
        return decision
    shadows, failures, took_ms = list(decision.shadows), dict(decision.failures), dict(decision.took_ms)
    for scored in late:
        if scored.version not in due:
            continue
        due.remove(scored.version)
        if scored.score is not None:
            shadows.append(scored.score)
        if scored.failure is not None:
            failures[str(scored.version)] = scored.failure
        if scored.took_ms:
            took_ms[str(scored.version)] = scored.took_ms
    return replace(decision, shadows=tuple(shadows), failures=failures, took_ms=took_ms, shadows_due=tuple(due))
