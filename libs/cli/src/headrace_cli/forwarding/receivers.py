"""Which receivers the settings name. Each has a consumer group of its own, so that one that is away holds back no other."""

from dataclasses import dataclass
from typing import Literal

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings

Kind = Literal["alertmanager", "webhook", "slack", "watchdog"]


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where alerts are sent. `name`: for people, without secrets. `url`, `authorization`: secret, never logged.

    A `watchdog` takes the dead-man record alone, in a webhook's shape.
    """

    name: str
    kind: Kind
    url: str
    authorization: str = ""


def receivers_of(settings: Settings) -> list[Receiver]:
    """The receivers that are set, in a fixed order.

    >>> [found.name for found in receivers_of(Settings(alertmanager_url="http://a:9093,http://b:9093"))]
    ['alertmanager', 'alertmanager-2']
    """
    urls = [url.strip().rstrip("/") for url in settings.alertmanager_url.split(",") if url.strip()]
    found = [
        Receiver(
            f"alertmanager-{n}" if n > 1 else "alertmanager", "alertmanager", url, settings.alertmanager_authorization
        )
        for n, url in enumerate(urls, 1)
    ]
    if settings.alert_webhook_url:
        found.append(Receiver("webhook", "webhook", settings.alert_webhook_url, settings.alert_webhook_authorization))
    if settings.alert_slack_url:
        found.append(Receiver("slack", "slack", settings.alert_slack_url))
    if settings.alert_watchdog_url:
        found.append(Receiver("watchdog", "watchdog", settings.alert_watchdog_url))
    return found


def required_receivers(settings: Settings) -> list[Receiver]:
    """The receivers that are set. Raises `Misconfigured` where there is none, with the settings' names."""
    found = receivers_of(settings)
    if not found:
        raise Misconfigured(
            "no receiver of alerts is set: set HEADRACE_ALERTMANAGER_URL, HEADRACE_ALERT_WEBHOOK_URL,"
            " HEADRACE_ALERT_SLACK_URL or HEADRACE_ALERT_WATCHDOG_URL, or the same in headrace.toml (docs/guides/alerts.md)"
        )
    return found
