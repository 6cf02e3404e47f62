"""The one-node KRaft configuration: small, loopback only, with Kafka's own defaults for the rest."""

from collections.abc import Mapping
from pathlib import Path

CLUSTER_ID = "headraceLocalCluster00"

_LOG4J = """\
Configuration:
  Properties: {Property: {name: pattern, value: "%d %p %m (%c)%n"}}
  Appenders: {Console: {name: STDOUT, PatternLayout: {pattern: "${pattern}"}}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: STDOUT}}
    Logger: [{name: kafka.server.KafkaRaftServer, level: INFO}, {name: kafka.server.BrokerServer, level: INFO}]
"""


# How long an open transaction may hold back its readers; our own end after 15 s.
LONGEST_TRANSACTION_MS = 60_000


def write_config(
    folder: Path, port: int, controller_port: int, overrides: Mapping[str, object] | None = None
) -> tuple[Path, Path]:
    """Write `server.properties` and `log4j2.yaml` into `folder`; returns both paths. `overrides`: settings that replace ours."""
    properties = folder / "server.properties"
    settings = _settings(folder, port, controller_port) | dict(overrides or {})
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    logging = folder / "log4j2.yaml"
    logging.write_text(_LOG4J)
    return properties, logging


def _settings(folder: Path, port: int, controller_port: int) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": folder / "log",
        "auto.create.topics.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "log.cleaner.dedupe.buffer.size": 33_554_432,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "transaction.max.timeout.ms": LONGEST_TRANSACTION_MS,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
    }
