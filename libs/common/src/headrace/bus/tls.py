"""TLS towards the broker, for every client that we start."""

import ssl

from headrace.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The context for SSL and SASL_SSL, with the host name checked; None for the plaintext protocols."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=settings.ssl_cafile or None)
