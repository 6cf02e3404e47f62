"""The Python client: predictions over HTTP, or directly over Kafka, with the same methods.

    with Client("http://127.0.0.1:8080") as client:
        client.predict("flight-delay", {"hour": 17, "carrier": "AA"}, unit="AA-1").value

`Client` blocks, `AsyncClient` does not. An address `kafka://host:port` asks over the log, without a gateway.
"""

from headrace.asking.prediction import Prediction
from headrace_cli.client.asynchronous import AsyncClient
from headrace_cli.client.errors import ClientError, NotAnswered, Rejected, Unreachable
from headrace_cli.client.rows import Row
from headrace_cli.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "ClientError", "NotAnswered", "Prediction", "Rejected", "Row", "Unreachable"]
