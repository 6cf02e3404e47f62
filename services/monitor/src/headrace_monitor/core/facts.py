"""The facts that the monitor's core hands to the shell: what is to be published, refused or reported."""

from dataclasses import dataclass

from headrace.events.alerts import AlertChanged
from headrace.events.audit import AuditReported
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import (
    BudgetReported,
    FindingOpened,
    FindingResolved,
    MonitorState,
    RolloutJudged,
    WindowClosed,
    WindowEstimated,
)
from headrace.events.training import RetrainRequested
from headrace.events.verdicts import VerdictGiven


@dataclass(frozen=True, slots=True)
class WindowReported:
    """An evaluation window has closed. `champion`: of the deployment; None when it has none."""

    window: WindowClosed
    champion: int | None


@dataclass(frozen=True, slots=True)
class FindingOver:
    """A finding of inputs or of a source is over. `key`: what it is open under; `at_s`: event time."""

    key: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Concern:
    """Whether an open finding concerns the champion of its deployment: then somebody has to act (`is_on`)."""

    finding: FindingOpened
    is_on: bool


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A finding asks for no more retrains, because they did not help. `summary`: for people."""

    finding: FindingOpened
    summary: str


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """A verdict about a running rollout. `sequence`: its number within the rollout; `correlation_id`: of the rollout."""

    verdict: VerdictGiven
    sequence: int
    correlation_id: str


@dataclass(frozen=True, slots=True)
class RolloutRemembered:
    """The memory of a rollout's analysis. `clock_s`: the deployment's clock, -inf before it runs."""

    memory: RolloutJudged
    clock_s: float
    correlation_id: str


@dataclass(frozen=True, slots=True)
class MonitoringFailed:
    """A part of a deployment's monitoring raised an error; all other deployments go on. `part`: see `monitoring_failures`."""

    deployment: str
    part: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Refused:
    """A record is refused and must be dead-lettered. `field`: what it is refused for, None when no field can be named."""

    reason: str
    field: str | None


@dataclass(frozen=True, slots=True)
class InstantRefused:
    """A record was refused because its instant lies too far ahead. `topic`: its name without the namespace."""

    topic: str


FindingFact = (
    FindingOpened
    | FindingResolved
    | RetrainRequested
    | GaveUp
    | Concern
    | BudgetReported
    | EfficacyReported
    | AuditReported
)
RolloutFact = VerdictReached | RolloutRemembered | MonitoringFailed
# What becomes a record on the log.
Published = (
    WindowReported
    | WindowEstimated
    | BudgetReported
    | EfficacyReported
    | AuditReported
    | FindingOpened
    | FindingResolved
    | RetrainRequested
    | MonitorState
    | VerdictReached
    | RolloutRemembered
    | AlertChanged
)
Fact = Published | GaveUp | Concern | MonitoringFailed | Refused | InstantRefused
