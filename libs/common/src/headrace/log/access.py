"""The settings that an adapter needs to reach the broker."""

from typing import Protocol


class BrokerAccess(Protocol):
    """Where the broker is, and the user for it. `hosting.settings.Settings` implements it. No property blocks or
    raises.
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
        """The replication factor of topics that are created."""
        ...
