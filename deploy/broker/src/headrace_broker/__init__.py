"""A real Apache Kafka in KRaft mode, started by the project without Docker."""

from headrace_broker.broker import Broker, die_with_parent, free_port, holder
from headrace_broker.errors import BrokerError

__all__ = ["Broker", "BrokerError", "die_with_parent", "free_port", "holder"]
