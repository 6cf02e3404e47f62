"""The HTTP app: which path and method lead to which answer. The README of the service lists them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote_plus

from headrace.hosting.health import Health
from headrace_console.adapters.acting import Acts
from headrace_console.adapters.bundle import Bundle
from headrace_console.adapters.persons import Persons
from headrace_console.adapters.records import Records
from headrace_console.core.catalogue import MOST_KEYS, Key, no_key, read_key
from headrace_console.core.documents import Found
from headrace_console.core.places import read_place
from headrace_console.core.search import MOST_CHARS
from headrace_console.settings import Limits
from headrace_edge.edge import App, Edge, Receive, Scope, Send, request_of, respond
from headrace_edge.rules.people import Person
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_edge.rules.requests import AdmittedRequest
from headrace_edge.streaming import stream_events

API = "/api/v1/"
# How the paths of the page begin.
PAGES = ("", "deployments", "alerts", "dead-letters", "features", "services", "records")
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_FULL = error_reply(503, "too many pages are open", 5.0)
Query = Mapping[str, str]


class Live(Protocol):
    """The documents, live: the shell, which an adapter does not import."""

    @property
    def is_full(self) -> bool:
        """Whether no further page may be followed."""
        ...

    async def document(self, key: Key, text: str) -> dict[str, Any]:
        """One document now."""
        ...

    def live(self, keys: Sequence[tuple[str, Key]], last: str) -> AsyncGenerator[bytes, None]:
        """The documents as server-sent events."""
        ...

    def find(self, text: str) -> list[Found]:
        """What a person looks for."""
        ...

    def names(self) -> list[str]:
        """All deployments."""
        ...


Handler = Callable[[AdmittedRequest[Person | None], str, Query], Awaitable[Reply]]


class Pages:
    """The answers to all paths."""

    def __init__(self, console: Live, bundle: Bundle, records: Records, persons: Persons, acts: Acts) -> None:
        self._console, self._bundle, self._records = console, bundle, records
        self._persons, self._acts = persons, acts
        self._gets: dict[str, Handler] = {
            "documents": self._document,
            "find": self._find,
            "records": self._record,
            "decisions": self._decision,
            "me": self._me,
        }

    async def answer(self, method: str, path: str, query: Query, request: AdmittedRequest[Person | None]) -> Reply:
        """The answer to a call that is not a stream."""
        if not path.startswith("/api/"):
            return self._page(method, path, request)
        if not path.startswith(API):
            return error_reply(404, "there is /api/v1 only")
        noun, _, rest = path.removeprefix(API).partition("/")
        if noun == "acts" and not rest:
            return await self._acts.act(request) if method == "POST" else _not_so("POST")
        if noun == "session" and not rest:
            is_taken = method in ("POST", "DELETE")
            return await self._persons.session(request, method) if is_taken else _not_so("POST", "DELETE")
        if noun == "live" and not rest:
            return _not_so("GET")
        handler = self._gets.get(noun)
        if handler is None:
            return error_reply(404, f"there is no {method} {path[:200]}")
        if method not in ("GET", "HEAD"):
            return _not_so("GET")
        return await handler(request, rest, query)

    def _page(self, method: str, path: str, request: AdmittedRequest[Person | None]) -> Reply:
        if method not in ("GET", "HEAD"):
            return _not_so("GET")
        if path.startswith("/assets/"):
            return self._bundle.asset(path.removeprefix("/assets/"))
        if path.strip("/").partition("/")[0] in PAGES:
            return self._bundle.index(request.header(b"if-none-match"))
        is_browser = "text/html" in (request.header(b"accept") or "")
        # NB: to a person the page itself says that there is no such page.
        return (
            replace(self._bundle.index(None), status=404) if is_browser else error_reply(404, "there is no such page")
        )

    async def _document(self, request: AdmittedRequest[Person | None], rest: str, query: Query) -> Reply:
        found = await self._console.document(read_key(rest) or no_key(rest), rest)
        return _json(found) if found["value"] is not None else _json(found | {"error": found["why"]}, 404)

    async def _find(self, request: AdmittedRequest[Person | None], rest: str, query: Query) -> Reply:
        text = query.get("q", "")
        known = self._console.find(text)
        return _json([*known, *await self._records.find(text, self._console.names())])

    async def _record(self, request: AdmittedRequest[Person | None], rest: str, query: Query) -> Reply:
        place = read_place(rest)
        if place is None:
            return error_reply(404, "a record is named as /api/v1/records/TOPIC/PARTITION/OFFSET")
        found = await self._records.read(place)
        return found if isinstance(found, Reply) else _json(found)

    async def _decision(self, request: AdmittedRequest[Person | None], rest: str, query: Query) -> Reply:
        deployment, _, wanted = rest.partition("/")
        if not wanted or len(wanted) > MOST_CHARS:
            return error_reply(404, "a decision is named as /api/v1/decisions/DEPLOYMENT/REQUEST-OR-UNIT")
        found = await self._records.explain(deployment, wanted)
        return found if isinstance(found, Reply) else _json(found)

    async def _me(self, request: AdmittedRequest[Person | None], rest: str, query: Query) -> Reply:
        return _json(self._persons.me(request.caller))


class Site:
    """ASGI: streams, and answers."""

    def __init__(self, console: Live, pages: Pages, stop: asyncio.Event) -> None:
        self._console, self._pages, self._stop = console, pages, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call that was admitted."""
        request, method, path = request_of(scope), scope["method"], scope["path"]
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        if path == f"{API}live" and method == "GET":
            keys = _keys(scope["query_string"].decode("latin-1")) if not self._console.is_full else _FULL
            if not isinstance(keys, Reply):
                last = request.header(b"last-event-id") or ""
                await stream_events(receive, send, self._console.live(keys, last), self._stop)
                return
            reply = keys
        else:
            reply = await self._pages.answer(method, path, query, request)
        await respond(send, _head(reply) if method == "HEAD" else reply, request.headers)


def make_app(console: Live, pages: Pages, persons: Persons, limits: Limits, health: Health, stop: asyncio.Event) -> App:
    """The app behind the edge."""
    return Edge(Site(console, pages, stop), persons.admit, limits, health=health)


def _keys(query: str) -> list[tuple[str, Key]] | Reply:
    """The documents that a page asks for, or the refusal. `query`: raw. A comma ends a name; `%2C` is a comma within a name.

    A name that can be none of a document is followed too: whoever follows it, and others beside it, is sent why it is not there.
    """
    values = [value for name, _, value in (pair.partition("=") for pair in query.split("&")) if name == "documents"]
    names = list(dict.fromkeys(unquote_plus(name) for value in values for name in value.split(",") if name))
    if not 1 <= len(names) <= MOST_KEYS:
        return error_reply(400, f"documents= takes 1 to {MOST_KEYS} keys, got {len(names)}")
    return [(name, read_key(name) or no_key(name)) for name in names]


def _not_so(*methods: str) -> Reply:
    """The refusal of a method."""
    return error_reply(405, f"{' or '.join(methods)} is taken here").with_header("Allow", ", ".join(methods))


def _json(body: Any, status: int = 200) -> Reply:
    return as_json(status, body, dict(_NO_STORE))


def _head(reply: Reply) -> Reply:
    """The answer to HEAD: no body."""
    return Reply(reply.status, b"", reply.headers, reply.content_type)
