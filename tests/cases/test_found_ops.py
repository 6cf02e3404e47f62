"""Settings that cannot be right end a command with one sentence that names them, before anything is started."""

from pathlib import Path

import pytest

from headrace.bus.tls import tls_context
from headrace.errors import Misconfigured
from headrace.settings import Settings, environ_of
from headrace_cli.local import Local


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SECURITY_PROTOCOL", "FOO", "security_protocol must be one of PLAINTEXT, SSL"),
        ("SASL_MECHANISM", "MD5", "sasl_mechanism must be one of PLAIN"),
        ("LOG_LEVEL", "LOUD", "log_level must be one of DEBUG"),
        ("WATCHDOG_S", "nan", "watchdog_s must be a finite number, 0 or more, got 'nan'"),
        ("CONNECT_TIMEOUT_S", "inf", "connect_timeout_s must be a finite number"),
        ("TRAINING_MEMORY_BYTES", "-1", "training_memory_bytes must be a finite number, 0 or more"),
        ("PARTITIONS_REQUESTS", "0", "partitions_requests must be 1 or more"),
        ("GATEWAY_PORT", "99999", "gateway_port must be 0 to 65535"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused_with_its_name_and_what_it_may_be(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(Misconfigured, match=told):
        Settings.load({f"HEADRACE_{name}": value})


def test_what_a_process_hands_on_to_another_is_accepted_there() -> None:
    settings = Settings.load({})
    assert Settings.load(environ_of(settings)) == settings


def test_up_refuses_a_wrong_setting_before_it_starts_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_PORT_BASE", "abc")
    with pytest.raises(Misconfigured, match="HEADRACE_HTTP_PORT_BASE: http_port_base"):
        Local(tmp_path / "home").start(0)
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_or_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HEADRACE_HOME", str(file))
    with pytest.raises(Misconfigured, match="is no folder"):
        Local.here()
    with pytest.raises(Misconfigured, match="cannot be made"):
        Local(file / "below").start(0)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_missing_or_holds_no_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Misconfigured, match=r"HEADRACE_SSL_CAFILE=.*ca\.pem is no readable file"):
        tls_context(Settings(security_protocol="SSL", ssl_cafile=str(file)))
