"""What the owner of a shard takes over from the one before, by the records of its decisions: answers, replies and scores of shadows.

A reply leaves right after the commit, outside of the transaction, so the owner may end in between: it has decided and sent no reply.
So the requests that were decided just before its last decision are read once more. Each is a repeat by then, and gets its stored answer.
"""

from collections import deque
from dataclasses import dataclass

from headrace.events.inference import DecisionMade, ShadowScored
from headrace.log.port import Headers
from headrace_inference.core.repeats import AnswerWindow

# How long before the last decision replies may not have left.
UNSENT_WITHIN_MS = 2_000
_MOST_AGAIN = 10_000


class UnsentReplies:
    """The requests whose replies may not have left when a shard changed hands: those decided just before its last decision."""

    def __init__(self) -> None:
        self._decided: deque[tuple[int, int]] = deque()

    def on_decision(self, at_ms: int, request_offset: int) -> None:
        """A decision of the past, in order. `at_ms`: its append time."""
        decided = self._decided
        decided.append((at_ms, request_offset))
        while decided[0][0] < at_ms - UNSENT_WITHIN_MS or len(decided) > _MOST_AGAIN:
            decided.popleft()

    def first(self, next_offset: int) -> int:
        """The offset from which to read on, `next_offset` being the first request that is not decided."""
        return min([next_offset, *(offset for _, offset in self._decided)])


@dataclass(frozen=True, slots=True)
class Owed:
    """A decision that was written before these `versions` had scored it. `causes`: headers of its record, for what follows from it."""

    decision: DecisionMade
    versions: frozenset[int]
    causes: Headers


class Takeover:
    """The fold of a shard's own records. `answers`: what was answered."""

    def __init__(self, answers: AnswerWindow) -> None:
        self.answers = answers
        self._unsent = UnsentReplies()
        self._owed: dict[tuple[str, str], Owed] = {}

    def on_decision(self, decision: DecisionMade, answer: bytes, decided_ms: int, causes: Headers) -> None:
        """A decision that was committed at `decided_ms`, and its reply."""
        self.answers.remember(decision.deployment, decision.request_id, answer, decided_ms)
        self._unsent.on_decision(decided_ms, decision.request_offset)
        if decision.shadows_due:
            owed = Owed(decision, frozenset(decision.shadows_due), causes)
            self._owed[decision.deployment, decision.request_id] = owed

    def on_shadow_scored(self, scored: ShadowScored) -> None:
        """A score of a shadow that came after its decision: it is owed no more."""
        identity = (scored.deployment, scored.request_id)
        owed = self._owed.get(identity)
        if owed is None:
            return
        rest = owed.versions - {scored.version}
        if rest:
            self._owed[identity] = Owed(owed.decision, rest, owed.causes)
        else:
            del self._owed[identity]

    def first_offset(self, next_offset: int) -> int:
        """The offset from which to read requests, `next_offset` being the first that is not decided."""
        return self._unsent.first(next_offset)

    def take_owed(self) -> list[Owed]:
        """The decisions whose shadows are still to score; they are not kept here any longer."""
        owed, self._owed = list(self._owed.values()), {}
        return owed
