"""Alerts in the shape of Alertmanager's v4 payload, one record per fingerprint."""

import msgspec


class AlertChanged(msgspec.Struct, frozen=True, rename="camel"):
    """The current state of one alert. `status` is `firing` or `resolved`; times are RFC 3339; `endsAt` is "" while
    firing.
    """

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    fingerprint: str
    generator_url: str = msgspec.field(default="", name="generatorURL")
