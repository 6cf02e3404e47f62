"""TLS to the broker, for all our clients."""

import ssl

from headrace.errors import Misconfigured
from headrace.log.access import BrokerAccess


def tls_context(settings: BrokerAccess) -> ssl.SSLContext | None:
    """The context for SSL and SASL_SSL, which checks the host name; None for the plaintext protocols.

    Raises `Misconfigured` when the CA file cannot be read.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"HEADRACE_SSL_CAFILE={settings.ssl_cafile} is not a readable file of certificates (PEM): {error}"
        ) from None
