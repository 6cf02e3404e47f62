"""When the step that answers the requests of a deployment has changed: from its version to a fallback, or back."""

from collections.abc import Sequence
from typing import NamedTuple

from headrace.asking.fallback import Chosen, step_of
from headrace.asking.routing import PREVIEW
from headrace.step import Step
from headrace_inference.core.batch import Case

# Versions come and go: what answered for them last is forgotten when there are too many of them.
_MOST_KNOWN = 10_000


class StepChanged(NamedTuple):
    """Another step answers than before, from the request of `case` on. `step`, `version`: see `fallback.step_of`."""

    case: Case
    step: str
    version: int
    reason: str


class AnsweringSteps:
    """Per deployment and assigned version the step that answered last, as one shard saw it."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int | None], tuple[str, int]] = {}

    def on_batch(self, cases: Sequence[Case], chosen: Sequence[Chosen]) -> Step["AnsweringSteps", StepChanged]:
        """A batch was decided. Of each deployment and assigned version its last request counts; previews do not."""
        newest = {case.chain: (case, one) for case, one in zip(cases, chosen, strict=True)}
        changes: list[StepChanged] = []
        for chain, (case, taken) in newest.items():
            step, known_as = step_of(taken), (chain.deployment, chain.assigned.version)
            if chain.assigned.override == PREVIEW or self._steps.get(known_as) == step:
                continue
            if len(self._steps) >= _MOST_KNOWN:
                self._steps.clear()
            self._steps[known_as] = step
            changes.append(StepChanged(case, *step, taken.reason))
        return Step(self, tuple(changes))
