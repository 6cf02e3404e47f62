"""Alerts in the shape of Alertmanager's v4 payload, one record per fingerprint; and silences, one record per id."""

import msgspec


class AlertSilence(msgspec.Struct, frozen=True, rename="camel"):
    """The silence that covers an alert: by whom, why, and until when (RFC 3339)."""

    id: str
    by: str
    reason: str
    ends_at: str


class AlertChanged(msgspec.Struct, frozen=True, rename="camel"):
    """The current state of one alert. `status` is `firing` or `resolved`; times are RFC 3339; `endsAt` is "" while
    firing. `silence`: the one that covers it, so that neither its beginning nor its end causes a notification. While
    the alert fires, a change of it is a record too; the alert fires since `startsAt` nevertheless.
    """

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    fingerprint: str
    generator_url: str = msgspec.field(default="", name="generatorURL")
    silence: AlertSilence | None = None


class SilenceSet(msgspec.Struct, frozen=True):
    """A person wants no notification of the alerts that have all of these labels, for a while.

    `id`: the key of the record; the same id again replaces it. `matchers`: 1 to 10 labels, by name. `starts_s`,
    `ends_s`: wall clock, seconds since the epoch; the end lies within 90 days. `by`, `reason`: who, and why.
    """

    id: str
    matchers: dict[str, str]
    starts_s: float
    ends_s: float
    by: str
    reason: str


class SilenceEnded(msgspec.Struct, frozen=True):
    """A person ends a silence before its time. It has the silence's id, and key."""

    id: str
    by: str
    reason: str
