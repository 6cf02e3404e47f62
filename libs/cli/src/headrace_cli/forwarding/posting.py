"""Posts to a receiver over HTTP, and says what came of it without a word of its address or secrets."""

import logging
from dataclasses import dataclass
from typing import Any

import httpx

from headrace_cli.forwarding.receivers import Receiver

WITHIN_S = 10.0
# The body itself is refused: sending it again does not help. Everything else may pass, or somebody corrects a setting.
_REFUSED = (400, 413, 422)
_LONGEST_WAIT_S = 3_600.0
_TEXT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a post. `kind`: `taken`, `refused` (the body is), or `away` (try again). `reason`: for people.

    `wait_s`: how long the receiver asks to be left alone. `body`: of an answer to a question, as JSON.
    """

    kind: str
    reason: str = ""
    wait_s: float = 0.0
    body: Any = None


class Poster:
    """The connection to one receiver."""

    def __init__(self, receiver: Receiver) -> None:
        # NB: httpx logs each request with its whole address, which for Slack is the secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        headers = {"Authorization": receiver.authorization} if receiver.authorization else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=WITHIN_S, follow_redirects=False)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def ask(self, method: str, url: str, body: Any = None) -> Answer:
        """One call. Raises nothing of the network."""
        try:
            answer = (
                await self._http.request(method, url, json=body)
                if body is not None
                else await self._http.request(method, url)
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # NB: the text of some errors has the address; their type says enough.
            return Answer("away", f"no answer ({type(error).__name__})")
        if answer.is_success:
            return Answer("taken", body=_json(answer))
        reason = f"it answers {answer.status_code}: {answer.text[:_TEXT_CHARS]!r}"
        if answer.status_code in _REFUSED:
            return Answer("refused", reason)
        return Answer("away", reason, _wait_s(answer.headers.get("Retry-After", "")))


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _wait_s(text: str) -> float:
    return min(float(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() else 0.0
