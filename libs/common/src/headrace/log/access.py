"""How to reach the broker: what an adapter must be given, whoever holds the settings."""

from typing import Protocol


class BrokerAccess(Protocol):
    """Where the broker is and as whom we log in. `hosting.settings.Settings` is one.

    `bootstrap_servers`: `host:port`, several separated by commas. `security_protocol`: PLAINTEXT, SSL, SASL_PLAINTEXT or
    SASL_SSL; the `sasl_*` values count for the last two only. `ssl_cafile`: a PEM file, "" for the system's authorities.
    `replication_factor`: of the topics that are created.
    """

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def security_protocol(self) -> str: ...
    @property
    def sasl_mechanism(self) -> str: ...
    @property
    def sasl_username(self) -> str: ...
    @property
    def sasl_password(self) -> str: ...
    @property
    def ssl_cafile(self) -> str: ...
    @property
    def replication_factor(self) -> int: ...
