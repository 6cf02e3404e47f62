"""How a run ends: the outcome and the reason that people read."""

from dataclasses import dataclass

from headrace.events.registry import GateResult
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace_trainer.core.fitting import Fitted
from headrace_trainer.core.training_set import TrainingSet

REGISTERED, REJECTED, WAITING, FAILED = "registered", "rejected", "waiting", "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run. `outcome`: one of those above; `reason`: "" where there is none."""

    outcome: str
    reason: str = ""


def rejected(result: GateResult) -> Ending:
    """A gate keeps the version from being registered."""
    return Ending(REJECTED, f"gate {result.gate}: {result.verdict}, {result.detail}")


def lacking_rows(training_set: TrainingSet, cause: str) -> Ending:
    """Nothing can be trained: more rows are awaited, or no number of rows would do."""
    if not training_set.missing_rows:
        return Ending(REJECTED, training_set.why_not)
    # NB: the monitor repeats its own requests; a person has to.
    again = "; ask again when they are there" if cause == "manual" else ""
    return Ending(WAITING, training_set.why_not + again)


def registered(open_result: GateResult | None, deployment: str) -> Ending:
    """The version is registered. `open_result`: of the gate that keeps it from taking traffic by itself, None for no such gate."""
    if open_result is None:
        return Ending(REGISTERED)
    return Ending(
        REGISTERED,
        f"not switched to, gate {open_result.gate}: {open_result.verdict}, {open_result.detail};"
        f" `headrace rollout start {deployment} VERSION` releases it, and rollout=Canary(...) would compare it under traffic",
    )


def finished(
    accepted: RetrainAccepted,
    ending: Ending,
    took_s: float,
    *,
    is_released: bool,
    fitted: Fitted | None = None,
    training_set: TrainingSet | None = None,
) -> TrainingFinished:
    """The last fact of a run. `fitted`, `training_set`: None where the run did not come so far."""
    digest, rows = (fitted.digest, fitted.rows) if fitted else ("", 0)
    fact = TrainingFinished(
        accepted.deployment,
        accepted.run,
        ending.outcome,
        ending.reason,
        digest,
        rows,
        took_s,
        is_released=is_released,
    )
    return fact if training_set is None else training_set.with_change(fact)
