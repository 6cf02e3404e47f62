"""Why a broker refuses us, since the client library only reports that it could not bootstrap.

The checks follow the steps of a connection: is anything listening, does TLS work, is the user known. What a restart
cannot mend (certificate, password, wrong protocol) is returned as a sentence; None when the broker is away or does not
answer.
"""

import asyncio
import contextlib
import logging
import ssl
import struct
from collections.abc import Iterator, Sequence

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from headrace.log.access import BrokerAccess
from headrace.log.kafka import KafkaLog
from headrace.log.port import Log
from headrace.log.tls import tls_context

WITHIN_S = 3.0
PLAIN_WITHIN_S = 1.0
# ApiVersions v0 without a client id, and the first bytes of a TLS record that is an alert.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)
_TLS_ALERT = b"\x15\x03"


async def refusal(settings: BrokerAccess) -> str | None:
    """Why the first reachable broker of `bootstrap_servers` refuses us; None when none is reachable, or nothing is
    wrong.
    """
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not port.isdigit():
            return f"bootstrap_servers: {server!r} is not host:port"
        found = await _of_server(settings, host.strip("[]") or "127.0.0.1", int(port))
        if found is not None:
            return found
    return None


async def is_listening(settings: BrokerAccess) -> bool:
    """Whether any server accepts connections. A broker that does, and does not answer, is frozen or starting."""
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(WITHIN_S):
                _, writer = await asyncio.open_connection(host.strip("[]") or "127.0.0.1", int(port))
            writer.close()
            return True
    return False


async def denied_topics(log: Log, names: Sequence[str]) -> list[str]:
    """Those of `names` that we have no right to see. A broker leaves them out silently when it lists all topics."""
    if not isinstance(log, KafkaLog) or not names:
        return []
    answers = await log.admin.describe_topics(list(names))
    return sorted(found["topic"] for found in answers if found["error_code"] == TopicAuthorizationFailedError.errno)


def principal(log: Log) -> str:
    """Our principal at the broker."""
    if not isinstance(log, KafkaLog) or not log.settings.security_protocol.startswith("SASL"):
        return "User:ANONYMOUS"
    return f"User:{log.settings.sasl_username}"


async def _of_server(settings: BrokerAccess, host: str, port: int) -> str | None:
    match settings.security_protocol:
        case "PLAINTEXT":
            return await _of_plaintext(host, port)
        case "SSL":
            return await _of_tls(settings, host, port)
        case "SASL_SSL":
            return await _of_tls(settings, host, port) or await _of_user(settings, host, port)
        case "SASL_PLAINTEXT":
            return await _of_plaintext(host, port) or await _of_user(settings, host, port)
        case other:
            return f"HEADRACE_SECURITY_PROTOCOL={other} is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"


async def _of_plaintext(host: str, port: int) -> str | None:
    """Whether the port expects TLS: a TLS listener answers plain bytes with an alert."""
    with contextlib.suppress(OSError, TimeoutError, EOFError):
        async with asyncio.timeout(PLAIN_WITHIN_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_API_VERSIONS)
                if (await reader.readexactly(2)) == _TLS_ALERT:
                    return (
                        f"the broker at {host}:{port} speaks TLS: set HEADRACE_SECURITY_PROTOCOL to SSL or SASL_SSL,"
                        " and HEADRACE_SSL_CAFILE"
                    )
            finally:
                writer.transport.abort()
    return None


async def _of_tls(settings: BrokerAccess, host: str, port: int) -> str | None:
    where = f"the broker at {host}:{port}"
    try:
        context = tls_context(settings)
        async with asyncio.timeout(WITHIN_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        writer.transport.abort()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return (
                f"the certificate of {where[4:]} is for another host: {error.verify_message}; connect by the name in it"
            )
        signer = settings.ssl_cafile or "any authority that this system trusts (HEADRACE_SSL_CAFILE is not set)"
        return f"the certificate of {where[4:]} is not signed by {signer}: {error.verify_message}"
    except ssl.SSLError as error:
        return f"{where} does not speak TLS as we do ({error.reason or error}): is HEADRACE_SECURITY_PROTOCOL={settings.security_protocol} right?"
    except (OSError, TimeoutError):
        return None
    return None


async def _of_user(settings: BrokerAccess, host: str, port: int) -> str | None:
    is_sasl = settings.security_protocol.startswith("SASL")
    where, who = f"the broker at {host}:{port}", f"user {settings.sasl_username!r} by {settings.sasl_mechanism}"
    try:
        with _quiet():
            async with asyncio.timeout(WITHIN_S):
                connection = await create_conn(
                    host,
                    port,
                    client_id="headrace",
                    request_timeout_ms=int(WITHIN_S * 1000),
                    ssl_context=tls_context(settings),
                    security_protocol=settings.security_protocol,
                    sasl_mechanism=settings.sasl_mechanism if is_sasl else "PLAIN",
                    sasl_plain_username=settings.sasl_username if is_sasl else None,
                    sasl_plain_password=settings.sasl_password if is_sasl else None,
                )
        connection.close()
    except (AuthenticationFailedError, AuthenticationMethodNotSupported, SaslAuthenticationFailed) as error:
        return f"{where} refuses {who}: {error} (HEADRACE_SASL_USERNAME, HEADRACE_SASL_PASSWORD)"
    except UnsupportedSaslMechanismError as error:
        return f"{where} does not know {settings.sasl_mechanism}: {error} (HEADRACE_SASL_MECHANISM)"
    except IllegalSaslStateError as error:
        return f"{where} does not authenticate users as we do: {error}; is HEADRACE_SECURITY_PROTOCOL={settings.security_protocol} right?"
    except (KafkaError, OSError, TimeoutError, ValueError):
        return None
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's log during the check, since we report the result ourselves."""
    logger = logging.getLogger("aiokafka.conn")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was
