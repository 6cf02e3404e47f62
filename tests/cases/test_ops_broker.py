"""Real brokers: what strangers on the broker can do to us, and the errors of a broker that refuses us."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from headrace.errors import Misconfigured, Retryable
from headrace.hosting.naming import topics_of
from headrace.hosting.needs import needed
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics, require_topics
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace_broker import Broker, free_port
from headrace_cli.installation.services import SERVICES

SECRET = "alice's secret"


def test_a_service_needs_rights_on_its_own_topics_only() -> None:
    topics = Topics.load("t")
    assert not any("dlq.registry" in name or "training" in name for name in needed(topics, "inference"))
    assert topics.name("inference.requests") not in needed(topics, "feature")
    assert topics.dlq("gateway") not in needed(topics, "gateway")
    everything = {spec.name for spec in topics.specs()}
    for service in SERVICES:
        assert needed(topics, service) < everything


async def test_a_frozen_broker_is_distinguished_from_one_that_is_away(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Settings(bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}")
        began_s = time.monotonic()
        with pytest.raises(Retryable, match="takes the connection and does not answer"):
            await connect(KafkaLog(settings), 1.0, settings)
        assert time.monotonic() - began_s < 4
    with pytest.raises(Retryable, match="no Kafka broker"):
        await connect(KafkaLog(settings), 0.5, settings)


@pytest.mark.faults
async def test_a_strangers_open_transaction_holds_back_readers_no_longer_than_the_brokers_limit(tmp_path: Path) -> None:
    with Broker(tmp_path / "kafka", fresh=True, overrides={"transaction.max.timeout.ms": 3_000}) as broker:
        settings = Settings(bootstrap_servers=broker.bootstrap_servers)
        log, topics = KafkaLog(settings), topics_of(settings)
        await log.start()
        await ensure_topics(log, topics.specs())
        name = topics.name("inference.requests")
        greedy = AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap_servers, transactional_id="greedy", transaction_timeout_ms=900_000
        )
        with pytest.raises(KafkaError):
            await greedy.start()
        await greedy.stop()
        stranger = AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap_servers, transactional_id="stranger", transaction_timeout_ms=3_000
        )
        await stranger.start()
        await stranger.begin_transaction()
        await stranger.send_and_wait(name, b"left open", partition=0)
        ours = await log.producer()
        await ours.send([Out(name, None, b"good", (), 0)])
        partitions = await log.partitions(name)
        reader = await log.reader(partitions[:1], "beginning")
        began_s, found = time.monotonic(), []
        while not found:
            assert time.monotonic() - began_s < 20
            found = [record.value for record in await reader.fetch(0.5)]
        assert found == [b"good"]
        assert time.monotonic() - began_s < 12
        await reader.close()
        await ours.close()
        with pytest.raises(KafkaError):  # our service aborted it meanwhile
            await stranger.commit_transaction()
        await stranger.stop()
        await log.stop()


@dataclass(frozen=True)
class Guarded:
    """A broker with a plaintext listener for its owner, and a listener with certificates and passwords for all others."""

    inside: Settings
    outside: Settings


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _certificates(folder: Path) -> None:
    """A certificate authority, another one, and the broker's certificate for `localhost` only."""
    folder.mkdir()
    for name in ("ca", "other"):
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                 "-subj", f"/CN={name}", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    _openssl(
        folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "b.key", "-out", "b.csr", "-subj", "/CN=localhost"
    )
    (folder / "san").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    _openssl(folder, "x509", "-req", "-in", "b.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "b.pem",
             "-days", "2", "-extfile", "san")  # fmt: skip
    (folder / "store.pem").write_text((folder / "b.key").read_text() + (folder / "b.pem").read_text())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, port = folder / "keys", free_port()
    _certificates(keys)
    scram = "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config"
    overrides = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        scram: "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": keys / "store.pem",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    broker = Broker(
        folder / "kafka",
        fresh=True,
        overrides=overrides,
        format_with=["--add-scram", f"SCRAM-SHA-512=[name=alice,password={SECRET}]"],
    )
    plain = f"PLAINTEXT://127.0.0.1:{broker.port}"
    broker._overrides["listeners"] = (
        f"{plain},SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{broker._controller_port}"
    )
    broker._overrides["advertised.listeners"] = f"{plain},SASL_SSL://localhost:{port}"
    with broker:
        yield Guarded(
            Settings(bootstrap_servers=broker.bootstrap_servers),
            Settings(
                bootstrap_servers=f"localhost:{port}",
                security_protocol="SASL_SSL",
                sasl_username="alice",
                sasl_password=SECRET,
                ssl_cafile=str(keys / "ca.pem"),
            ),
        )


@pytest.mark.faults
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"sasl_password": "no"},
            r"refuses user 'alice' by SCRAM-SHA-512: .*[Aa]uthentication failed.*HEADRACE_SASL_PASSWORD",
        ),
        ({"sasl_username": "bob"}, r"refuses user 'bob' by SCRAM-SHA-512"),
        ({"ssl_cafile": "other.pem"}, r"the certificate of .* is not signed by .*other.pem"),
        ({"ssl_cafile": ""}, r"the certificate of .* is not signed by any authority that this system trusts"),
        ({"bootstrap_servers": "127.0.0.1"}, r"the certificate of .* is for another host"),
        ({"security_protocol": "PLAINTEXT"}, r"speaks TLS: set HEADRACE_SECURITY_PROTOCOL"),
        ({"security_protocol": "SASL_PLAINTEXT"}, r"speaks TLS: set HEADRACE_SECURITY_PROTOCOL"),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, r"(does not know|refuses user 'alice' by) SCRAM-SHA-256"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_the_error_of_a_broker_that_refuses_us_names_it(
    guarded: Guarded, wrong: dict[str, str], sentence: str
) -> None:
    given = dict(wrong)
    if "bootstrap_servers" in given:
        given["bootstrap_servers"] = guarded.outside.bootstrap_servers.replace("localhost", "127.0.0.1")
    if given.get("ssl_cafile"):
        given["ssl_cafile"] = str(Path(guarded.outside.ssl_cafile).with_name("other.pem"))
    settings = msgspec.structs.replace(guarded.outside, **given)
    with pytest.raises(Misconfigured, match=sentence):
        await connect(KafkaLog(settings), 20.0, settings)


@pytest.mark.faults
async def test_a_principal_without_rights_is_named_and_so_are_the_topics(guarded: Guarded) -> None:
    owner, topics = KafkaLog(guarded.inside), topics_of(guarded.inside)
    await owner.start()
    await ensure_topics(owner, topics.specs())
    await owner.stop()
    log = KafkaLog(guarded.outside)
    await connect(log, 20.0, guarded.outside)
    mine = [spec for spec in topics.specs() if spec.name in needed(topics, "feature")]
    with pytest.raises(Misconfigured, match=r"User:alice has no right DESCRIBE on .*features\.online\.v1") as caught:
        await require_topics(log, mine)
    assert "missing" not in str(caught.value)
    await log.stop()


@pytest.mark.faults
def test_a_command_with_a_wrong_password_reports_that_and_does_not_advise_to_start_a_broker(
    guarded: Guarded, tmp_path: Path
) -> None:
    outside = guarded.outside
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))} | {
        "HEADRACE_HOME": str(tmp_path),
        "KAFKA_BOOTSTRAP_SERVERS": outside.bootstrap_servers,
        "HEADRACE_SECURITY_PROTOCOL": "SASL_SSL",
        "HEADRACE_SASL_USERNAME": "alice",
        "HEADRACE_SASL_PASSWORD": "no",
        "HEADRACE_SSL_CAFILE": outside.ssl_cafile,
    }
    command = [sys.executable, "-m", "headrace_cli", "alert", "list"]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, len(ran.stderr.strip().splitlines())) == (2, 1), ran.stderr
    assert "refuses user 'alice' by SCRAM-SHA-512" in ran.stderr
    assert "headrace up" not in ran.stderr
