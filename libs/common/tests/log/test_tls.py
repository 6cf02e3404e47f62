"""The connection options that clients get."""

import ssl

import pytest

from headrace.hosting.settings import Settings
from headrace.log.kafka import client_options
from headrace.log.tls import tls_context


@pytest.mark.parametrize(
    ("protocol", "is_tls"), [("PLAINTEXT", False), ("SASL_PLAINTEXT", False), ("SSL", True), ("SASL_SSL", True)]
)
def test_tls_is_used_exactly_where_the_protocol_requires_it_and_checks_the_host(protocol: str, is_tls: bool) -> None:
    context = tls_context(Settings(security_protocol=protocol))
    assert (context is not None) == is_tls
    if context is not None:
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_credentials_go_with_sasl_only() -> None:
    settings = Settings(security_protocol="SASL_PLAINTEXT", sasl_username="u", sasl_password="p")
    assert client_options(settings)["sasl_plain_username"] == "u"
    assert "sasl_plain_username" not in client_options(Settings())
