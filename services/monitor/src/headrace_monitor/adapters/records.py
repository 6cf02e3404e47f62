"""What the monitor publishes, as records of its topics: windows, findings, retrain requests, alerts, verdicts, and its memory."""

import math
from collections.abc import Iterable
from typing import Any

from headrace.events.alerts import AlertChanged
from headrace.events.audit import AuditReported
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import BudgetReported, FindingOpened, FindingResolved, MonitorState, WindowEstimated
from headrace.events.training import RetrainRequested
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.log.codec import Message, caused_by, out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Out, Record
from headrace.log.topics import Topics
from headrace_monitor.core.facts import Published, RolloutRemembered, VerdictReached, WindowReported
from headrace_monitor.core.retrain_requests import request_id_of

# What follows from a fact of this step follows from an event that has no place on the log yet.
_NOWHERE = Record("", 0, 0, None, None)


class Records:
    """Writes facts as records. Ids derive from what a fact is about, so a replay repeats them."""

    def __init__(self, topics: Topics, service: str) -> None:
        self._name, self._service = topics.name, service

    def of(self, facts: Iterable[Published], cause: Message | None, now_s: float) -> list[Out]:
        """The records of these facts, in order.

        `cause`: the message that findings and retrain requests follow from, until a window or another finding is among the
        facts: then they follow from that one. `now_s`: since the epoch, at which alerts are written.
        """
        outs: list[Out] = []
        for fact in facts:
            envelope, written = self._record_of(fact, cause, now_s)
            outs.append(written)
            match fact:
                case WindowReported(window):
                    cause = Message(_NOWHERE, envelope, window)
                case FindingOpened():
                    cause = Message(_NOWHERE, envelope, fact)
        return outs

    def _record_of(self, fact: Published, cause: Message | None, now_s: float) -> tuple[Envelope, Out]:
        match fact:
            case WindowReported(window, champion):
                time_s = min(max(window.to_s, EARLIEST_S), LATEST_S)
                envelope = self._envelope(
                    derived_id(window.deployment, window.from_s, "window"), time_s, window.deployment
                )
                key = f"{window.deployment}/{champion or 0}"
                return envelope, out(self._name("monitor.windows"), key, window, envelope)
            case WindowEstimated():
                return self._figures(fact, derived_id(fact.deployment, fact.from_s, "estimated"), fact.to_s)
            case BudgetReported():
                return self._figures(fact, derived_id(fact.deployment, "budget", fact.at_s, fact.total), fact.at_s)
            case EfficacyReported():
                ident = derived_id(fact.deployment, "efficacy", fact.version, fact.previous, fact.at_s, fact.is_final)
                return self._figures(fact, ident, fact.at_s)
            case AuditReported():
                return self._figures(fact, derived_id(fact.deployment, "audit", fact.at_s, fact.trials), fact.at_s)
            case FindingOpened():
                return self._caused("monitor.findings", fact, cause, f"{fact.finding}-opened", fact.at_s)
            case FindingResolved():
                return self._caused("monitor.findings", fact, cause, f"{fact.finding}-resolved", fact.at_s)
            case RetrainRequested():
                return self._caused("training.requests", fact, cause, request_id_of(fact), fact.clock_s or 0.0)
            case AlertChanged():
                # NB: with the instant: a silence that ends leaves the same record as before it began.
                ident = derived_id(fact.fingerprint, fact.status, fact.starts_at, fact.ends_at, now_s)
                envelope = self._envelope(ident, now_s)
                return envelope, out(self._name("alerts"), fact.fingerprint, fact, envelope)
            case MonitorState():
                ident = derived_id(fact.deployment, "state", fact.closed_to_s, fact.champion)
                envelope = self._envelope(ident, max(fact.closed_to_s, 0.0))
                return envelope, out(self._name("monitor.state"), fact.deployment, fact, envelope)
            case VerdictReached(verdict, sequence, correlation_id):
                ident = derived_id("verdict", verdict.rollout, sequence)
                envelope = self._envelope(ident, verdict.clock_s, correlation_id)
                return envelope, out(self._name("monitor.verdicts"), verdict.deployment, verdict, envelope)
            case RolloutRemembered():
                return self._memory(fact)

    def _figures(
        self, fact: WindowEstimated | BudgetReported | EfficacyReported | AuditReported, ident: str, at_s: float
    ) -> tuple[Envelope, Out]:
        envelope = self._envelope(ident, min(max(at_s, EARLIEST_S), LATEST_S), fact.deployment)
        return envelope, out(self._name("monitor.windows"), fact.deployment, fact, envelope)

    def _memory(self, fact: RolloutRemembered) -> tuple[Envelope, Out]:
        memory = fact.memory
        ident = derived_id(
            "judged", memory.started.rollout, memory.sequence, memory.decisions, sum(memory.folded.values())
        )
        time_s = max(fact.clock_s, 0.0) if math.isfinite(fact.clock_s) else 0.0
        envelope = self._envelope(ident, time_s, fact.correlation_id)
        return envelope, out(self._name("monitor.state"), f"{memory.deployment}/rollout", memory, envelope)

    def _caused(self, noun: str, event: Any, cause: Message | None, ident: str, time_s: float) -> tuple[Envelope, Out]:
        envelope = caused_by(cause, id=ident, source=self._service, time_s=time_s)
        return envelope, out(self._name(noun), event.deployment, event, envelope)

    def _envelope(self, ident: str, time_s: float, correlation_id: str | None = None) -> Envelope:
        return Envelope(ident, "", self._service, time_s, correlation_id=correlation_id)
