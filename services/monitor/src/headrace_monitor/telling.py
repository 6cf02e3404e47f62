"""What closed windows lead to, as records: the window itself, findings with their alerts, requests to train, and what is kept."""

from collections.abc import Sequence

from headrace.events.monitor import FindingOpened, FindingResolved, MonitorState, WindowClosed
from headrace.events.training import RetrainRequested
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.log.codec import Message, caused_by, out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Out, Record
from headrace.log.topics import Topics
from headrace_monitor.alerts import Alerts
from headrace_monitor.core import priors
from headrace_monitor.core.asking import request_id_of
from headrace_monitor.core.asks import GaveUp
from headrace_monitor.core.findings import alarm_of, unhelpful
from headrace_monitor.core.watch import Said

# What the monitor itself says next follows from an event that has no place on the log yet.
_NOWHERE = Record("", 0, 0, None, None)


class Telling:
    """Writes what a deployment's watch says."""

    def __init__(self, topics: Topics, alerts: Alerts, service: str) -> None:
        self._topics, self._alerts, self._service = topics, alerts, service

    def window(self, window: WindowClosed, champion: int | None) -> tuple[Out, Message]:
        """A window that is over; and the same as the cause of what it leads to."""
        name, time_s = window.deployment, min(max(window.to_s, EARLIEST_S), LATEST_S)
        envelope = Envelope(derived_id(name, window.from_s, "window"), "", self._service, time_s, correlation_id=name)
        written = out(self._topics.name("monitor.windows"), f"{name}/{champion or 0}", window, envelope)
        return written, Message(_NOWHERE, envelope, window)

    def say(self, said: Sequence[Said], cause: Message | None) -> list[Out]:
        """Findings, their alerts, and requests, each caused by the finding before it."""
        outs: list[Out] = []
        for event in said:
            match event:
                case FindingOpened():
                    envelope = caused_by(cause, id=f"{event.finding}-opened", source=self._service, time_s=event.at_s)
                    outs.append(out(self._topics.name("monitor.findings"), event.deployment, event, envelope))
                    # NB: of a version that does worse than the prior only a `Concern` says whether anybody has to act.
                    outs += self._alerts.begin(alarm_of(event)) if event.kind != priors.KIND else []
                    cause = Message(_NOWHERE, envelope, event)
                case FindingResolved():
                    envelope = caused_by(cause, id=f"{event.finding}-resolved", source=self._service, time_s=event.at_s)
                    outs.append(out(self._topics.name("monitor.findings"), event.deployment, event, envelope))
                    outs += self._alerts.end(alarm_of(event).fingerprint)
                    outs += self._alerts.end(unhelpful(event).fingerprint)
                case priors.Concern(found, is_on):
                    alarm = alarm_of(found)
                    outs += self._alerts.begin(alarm) if is_on else self._alerts.end(alarm.fingerprint)
                case GaveUp(found, summary):
                    outs += self._alerts.begin(unhelpful(found, summary))
                case RetrainRequested():
                    envelope = caused_by(
                        cause, id=request_id_of(event), source=self._service, time_s=event.clock_s or 0.0
                    )
                    outs.append(out(self._topics.name("training.requests"), event.deployment, event, envelope))
        return outs

    def state(self, state: MonitorState) -> Out:
        """What a restart goes on from."""
        ident = derived_id(state.deployment, "state", state.closed_to_s, state.champion)
        envelope = Envelope(ident, "", self._service, max(state.closed_to_s, 0.0))
        return out(self._topics.name("monitor.state"), state.deployment, state, envelope)
