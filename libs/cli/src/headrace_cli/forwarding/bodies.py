"""What a receiver is sent: Alertmanager's `POST /api/v2/alerts`, its webhook payload (version 4), or a message of Slack's shape.

Sources: Alertmanager's openapi.yaml (postableAlerts) and its documentation of `webhook_config`; Slack's incoming webhooks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import format_instant

# Lines of one message; what more there is is counted.
SLACK_LINES, SLACK_CHARS = 20, 3_000


def labels_of(alert: AlertChanged, namespace: str) -> dict[str, str]:
    """The labels of an alert, with the namespace where there is one: several installations may share a receiver."""
    return alert.labels | ({"namespace": namespace} if namespace else {})


def group_of(alert: AlertChanged, namespace: str) -> dict[str, str]:
    """The labels by which notifications are grouped: the alert's name, and the deployment or else the service."""
    labels = labels_of(alert, namespace)
    about = next((name for name in ("deployment", "service", "topic") if name in labels), None)
    return {name: labels[name] for name in ("alertname", about, "namespace") if name is not None and name in labels}


def to_alertmanager(alerts: Sequence[AlertChanged], namespace: str, until: Mapping[str, float]) -> list[dict[str, Any]]:
    """The body for Alertmanager. `until`: by fingerprint, until when a firing alert is believed without being sent again."""
    return [
        {
            "labels": labels_of(alert, namespace),
            "annotations": alert.annotations,
            "startsAt": alert.starts_at,
            "endsAt": alert.ends_at or format_instant(until[alert.fingerprint]),
        }
        for alert in alerts
    ]


def to_webhook(name: str, alerts: Sequence[AlertChanged], namespace: str) -> dict[str, Any]:
    """The body for a webhook; the alerts are of one group. `name`: of the receiver."""
    group = group_of(alerts[0], namespace)
    return {
        "version": "4",
        "groupKey": "{}:" + ",".join(f'{name}="{value}"' for name, value in sorted(group.items())),
        "truncatedAlerts": 0,
        "status": "firing" if any(alert.status == "firing" for alert in alerts) else "resolved",
        "receiver": name,
        "groupLabels": group,
        "commonLabels": _common([labels_of(alert, namespace) for alert in alerts]),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": "",
        "alerts": [
            {
                "status": alert.status,
                "labels": labels_of(alert, namespace),
                "annotations": alert.annotations,
                "startsAt": alert.starts_at,
                "endsAt": alert.ends_at or "0001-01-01T00:00:00Z",
                "generatorURL": alert.generator_url,
                "fingerprint": alert.fingerprint,
            }
            for alert in alerts
        ],
    }


def to_slack(alerts: Sequence[AlertChanged], namespace: str) -> dict[str, str]:
    """The message for Slack; the alerts are of one group."""
    lines = [_line(alert, namespace) for alert in alerts[:SLACK_LINES]]
    more = len(alerts) - SLACK_LINES
    lines += [f"and {more:,} more of {alerts[0].labels.get('alertname', '')}"] if more > 0 else []
    return {"text": "\n".join(lines)}


def _line(alert: AlertChanged, namespace: str) -> str:
    about = {
        name: value for name, value in labels_of(alert, namespace).items() if name not in ("alertname", "severity")
    }
    notes = alert.annotations
    said = "; ".join(filter(None, (notes.get("summary", ""), notes.get("description", ""))))[:SLACK_CHARS]
    status = alert.labels.get("severity", "") if alert.status == "firing" else "resolved"
    where = " ".join(f"{name}={value}" for name, value in about.items())
    link = notes.get("runbook_url", "")
    book = f" <{_escaped(link)}|runbook>" if link.startswith("http") else ""
    return f"*{status}: {_escaped(alert.labels.get('alertname', ''))}* {_escaped(where)}: {_escaped(said)}{book}"


def _escaped(text: str) -> str:
    """Slack reads `<...>` as a link and `<!channel>` as a call: what comes from the log is neither."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _common(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *others = found
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
