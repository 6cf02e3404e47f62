"""One HTTP request that was admitted, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace_edge.rules.callers import Caller

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class AdmittedRequest(Generic[C]):
    """One HTTP request that was admitted.

    `caller`: who calls, as the service knows callers. `headers`: by name in lower case. `body`: whole and uncompressed.
    `peer`: the address of who is connected, "" where it is not known.
    """

    caller: C
    headers: Mapping[bytes, bytes]
    body: bytes
    peer: str = ""

    def header(self, name: bytes) -> str | None:
        """One header, None where it is missing or empty."""
        return self.headers.get(name, b"").decode("latin-1") or None


# The request of a caller with an API key.
ApiRequest = AdmittedRequest[Caller]
