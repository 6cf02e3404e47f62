"""A real Apache Kafka in KRaft mode, started by the project without Docker."""

from headrace_broker.broker import Broker
from headrace_broker.errors import BrokerError

__all__ = ["Broker", "BrokerError"]
