"""Decisions whole: what shadowed versions said after the commit joins the decision that it belongs to.

A decision names in `shadows_due` the versions that had not answered when it was committed; each follows as one
`ShadowScored` on the same partition. Readers join by deployment, request and version; the first one stands.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from headrace.events.inference import DecisionMade, ShadowScored


def joined(events: Iterable[object]) -> list[DecisionMade]:
    """The decisions among `events` (others are passed over), in order, each with all that its shadows said; what is due still stays due."""
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
    for said in late:
        if said.version not in due:
            continue
        due.remove(said.version)
        if said.score is not None:
            shadows.append(said.score)
        if said.failure is not None:
            failures[str(said.version)] = said.failure
        if said.took_ms:
            took_ms[str(said.version)] = said.took_ms
    return replace(decision, shadows=tuple(shadows), failures=failures, took_ms=took_ms, shadows_due=tuple(due))
