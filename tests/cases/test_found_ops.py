"""Settings that cannot be right end a command with one sentence that names them, before anything is started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings, environ_of, strangers
from headrace.log.tls import tls_context
from headrace_cli.installation.local import Local


@pytest.mark.parametrize(
    ("name", "value", "message"),
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
    name: str, value: str, message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        Settings.load({f"HEADRACE_{name}": value})


def test_a_variable_that_is_no_setting_is_reported_in_one_sentence_with_the_nearest_and_without_its_value() -> None:
    message = strangers({"HEADRACE_NAMESPCE": "secret", "HEADRACE_GATEWAY_SERVICE_HOST": "10.0.0.1", "HOME": "/"})
    assert message is not None
    assert "HEADRACE_NAMESPCE (HEADRACE_NAMESPACE?)" in message
    assert "they are ignored" in message
    assert "secret" not in message
    assert len(strangers({f"HEADRACE_{n}_{'X' * 5000}": "" for n in range(1000)}) or "") < 1500
    known = dict.fromkeys(("HEADRACE_HOME", "HEADRACE_CONFIG", "HEADRACE_SOAK_MINUTES", "HEADRACE_FUZZ_SECONDS"), "1")
    assert strangers(environ_of(Settings()) | known) is None


def test_commands_and_services_report_which_variables_they_ignore(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "HEADRACE_NAMESPCE": "x",
        "HEADRACE_HOME": str(tmp_path),
        "HEADRACE_SECURITY_PROTOCOL": "SSL",
    }
    environ["HEADRACE_SSL_CAFILE"] = str(tmp_path / "none")  # so that the service ends at once
    for module, words in (("headrace_cli", ("config", "show", "--json")), ("headrace_registry", ())):
        command = [sys.executable, "-m", module, *words]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert "no setting is called HEADRACE_NAMESPCE" in ended.stderr + ended.stdout
        assert module == "headrace_registry" or json.loads(ended.stdout)


def test_what_a_process_hands_on_to_another_is_accepted_there() -> None:
    settings = Settings.load({})
    assert Settings.load(environ_of(settings)) == settings


def test_up_refuses_a_wrong_setting_before_it_starts_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_PORT_BASE", "abc")
    with pytest.raises(Misconfigured, match="HEADRACE_HTTP_PORT_BASE: http_port_base"):
        Local(tmp_path / "home").start(0)
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_or_cannot_be_made_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HEADRACE_HOME", str(file))
    with pytest.raises(Misconfigured, match="is not a folder"):
        Local.here()
    with pytest.raises(Misconfigured, match="cannot be created"):
        Local(file / "below").start(0)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_missing_or_holds_no_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Misconfigured, match=r"HEADRACE_SSL_CAFILE=.*ca\.pem is not a readable file"):
        tls_context(Settings(security_protocol="SSL", ssl_cafile=str(file)))
