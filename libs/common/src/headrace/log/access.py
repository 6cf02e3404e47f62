"""How to reach the broker: what an adapter must be given, whoever holds the settings."""

from typing import Protocol


class BrokerAccess(Protocol):
    """Where the broker is and as whom we log in. `hosting.settings.Settings` is one.

    `bootstrap_servers`: `host:port`, several separated by commas. `security_protocol`: PLAINTEXT, SSL, SASL_PLAINTEXT or
    SASL_SSL; the `sasl_*` values count for the last two only. `ssl_cafile`: a PEM file, "" for the system's authorities.
    `replication_factor`: of the topics that are created.
    """

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, several separated by commas."""
        ...

    @property
    def security_protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        ...

    @property
    def sasl_mechanism(self) -> str:
        """PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI or OAUTHBEARER."""
        ...

    @property
    def sasl_username(self) -> str:
        """The user, "" for none."""
        ...

    @property
    def sasl_password(self) -> str:
        """The password, "" for none."""
        ...

    @property
    def ssl_cafile(self) -> str:
        """A PEM file of authorities, "" for those of the system."""
        ...

    @property
    def replication_factor(self) -> int:
        """Of the topics that are created."""
        ...
