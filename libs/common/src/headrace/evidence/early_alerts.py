"""Which finding an alert is about, by its name and labels.

The monitor writes a finding and its alert at once, to two topics, and either may be first: an alert waits for its finding.
"""

from collections import OrderedDict

from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened
from headrace.log.codec import Message

_ALERTS = {
    "ModelDrift": "drift", "FeatureSkew": "skew", "SourceStopped": "traffic", "SourceChanged": "contract",
    "LabelsMissing": "labels", "ModelWorseThanPrior": "worse_than_prior",
}  # fmt: skip

# How long, in append time, an alert waits for its finding; and how many may wait.
WITHIN_S, MOST = 5.0, 50


class EarlyAlerts:
    """The newest waiting alert per kind of finding, at most `MOST`."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Message] = OrderedDict()

    def hold(self, kind: str, alert: Message) -> None:
        """Keep an alert for a finding of this kind."""
        self._held[kind] = alert
        self._held.move_to_end(kind)
        if len(self._held) > MOST:
            self._held.popitem(last=False)

    def claim(self, kinds: tuple[str, ...], finding: Message) -> Message | None:
        """The alert that waited for this finding, of which it is one of `kinds`; None for none."""
        for kind in kinds:
            alert = self._held.pop(kind, None)
            if alert is not None and finding.record.timestamp_ms - alert.record.timestamp_ms <= WITHIN_S * 1000:
                return alert
        return None


def kind_of(alert: AlertChanged) -> str:
    """The kind of finding that an alert is about, with what it concerns if that is named; `rollout` for those of rollouts."""
    labels = alert.labels
    name = labels.get("alertname", "")
    if name.startswith("Rollout"):
        return "rollout"
    kind = _ALERTS.get(name, labels.get("finding", ""))
    return f"{kind} {labels['about']}" if "about" in labels else kind


def kinds_of(found: FindingOpened) -> tuple[str, str]:
    """By what its alert may name it, the closest first."""
    return f"{found.kind} {found.about}", found.kind
