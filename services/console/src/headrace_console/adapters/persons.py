"""Who looks at the page, and who acts: a person's key or session, or the name that a proxy passes on.

| address                      | reading                        | acting          |
|------------------------------|--------------------------------|-----------------|
| loopback                     | everybody                      | a known person  |
| any other                    | a known person                 | a known person  |
| any other, no keys by choice | everybody (`HEADRACE_API_KEYS=none`: something in front checks them) | nobody |

The page itself, its files, and signing in are open everywhere. A call by a name that is not the console's is refused first of all.
"""

import asyncio
import secrets
from collections.abc import Mapping
from importlib.metadata import version

import msgspec

from headrace.clock import Clock
from headrace.hosting.settings import Settings
from headrace_console.core.documents import Me
from headrace_edge.edge import Scope, peer_of
from headrace_edge.keys import is_loopback, load_people
from headrace_edge.rules.callers import Bucket, Unidentified, find_caller
from headrace_edge.rules.hosts import read_hosts, refuse_host
from headrace_edge.rules.people import Person, person_of
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_edge.rules.requests import AdmittedRequest
from headrace_edge.rules.sessions import (
    COOKIE,
    clear_cookie,
    read_session,
    refuse_forged,
    session_value,
    set_cookie,
    value_of_cookie,
)
from headrace_edge.session_file import Sessions

OPEN = ("/api/v1/me", "/api/v1/session")
# Wrong keys: a second on average, and at once, from one address; and how many addresses are remembered.
_WRONG_PER_S, _WRONG, _ADDRESSES = 1.0, 20.0, 1_000


class _SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str


class Persons:
    """The people who are known. Raises `Misconfigured` for keys that cannot be read."""

    def __init__(self, settings: Settings, clock: Clock, sessions: Sessions) -> None:
        self._known, self._clock, self._sessions = load_people(settings, sessions), clock, sessions
        self._hosts = read_hosts(settings.http_host, settings.console_hosts)
        has_any = bool(self._known.callers or self._known.trust.header)
        self._is_open = is_loopback(settings.http_host) or not has_any
        self._code_version, self._runbook_url = version("headrace"), settings.runbook_url
        self._wrong: dict[str, Bucket] = {}

    def admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Person | Reply | None:
        """The person who makes a call, None for a stranger who may read, or the refusal."""
        misdirected = refuse_host(headers.get(b"host", b""), self._hosts, "HEADRACE_CONSOLE_HOSTS")
        if misdirected is not None:
            return misdirected
        # NB: no page of another site can send DELETE without asking first, and it has no body whose type could be named.
        forged = None if scope["method"] == "DELETE" else refuse_forged(scope["method"], headers)
        if forged is not None:
            return forged
        found = person_of(scope["headers"], peer_of(scope), self._known, self._clock.now_s())
        if isinstance(found, Person):
            return found
        path = scope["path"]
        if self._is_open or path in OPEN or not path.startswith("/api/"):
            return None
        return error_reply(401, found.value)

    def me(self, person: Person | None) -> Me:
        """What the page says of a person."""
        name, role = ("", None) if person is None else (person.name, person.role.value)
        return Me(name, role, self._known.can_sign_in, self._code_version, self._runbook_url)

    async def session(self, request: AdmittedRequest[Person | None], method: str) -> Reply:
        """Begin or end a session."""
        if method == "DELETE":
            await self._end(value_of_cookie(request.headers.get(b"cookie", b""), COOKIE))
            return as_json(200, self.me(None), {"Set-Cookie": clear_cookie(), "Cache-Control": "no-store"})
        try:
            key = msgspec.json.decode(request.body, type=_SignIn).key
        except msgspec.MsgspecError:
            return error_reply(400, 'the body must be {"key": "..."}')
        now_s = self._clock.now_s()
        caller = find_caller(key, self._known.callers, now_s)
        if isinstance(caller, Unidentified):
            return self._refuse(request.peer, caller.value)
        if caller.role is None:
            return self._refuse(request.peer, "this key asks for predictions only: it has no role")
        is_secure = request.headers.get(b"x-forwarded-proto", b"") == b"https"
        value = session_value(caller, self._known.secret, now_s, secrets.token_hex(16))
        found = Person(caller.name, caller.role, caller.deployments)
        headers = {"Set-Cookie": set_cookie(value, is_secure=is_secure), "Cache-Control": "no-store"}
        return as_json(200, self.me(found), headers)

    async def _end(self, cookie: str) -> None:
        """End the session of a cookie, also for copies of it."""
        read = read_session(cookie, self._known.secret) if cookie else None
        if read is not None:
            self._sessions.end(read[0], float(read[2]), self._clock.now_s())
            await asyncio.to_thread(self._sessions.save)

    def _refuse(self, peer: str, why: str) -> Reply:
        """The refusal of a wrong key: 401, or 429 where too many came from the same address. A right key is always taken."""
        now_s = self._clock.monotonic_s()
        bucket = self._wrong.pop(peer, None) or Bucket(_WRONG, now_s)
        self._wrong[peer] = bucket
        if len(self._wrong) > _ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        wait_s = bucket.take(_WRONG_PER_S, _WRONG, now_s)
        return error_reply(401, why) if wait_s is None else error_reply(429, "too many wrong keys from here", wait_s)
