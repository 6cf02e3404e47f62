"""Who looks at the page, and who acts: a person's key or session, or the name that a proxy passes on.

| address                      | reading                        | acting          |
|------------------------------|--------------------------------|-----------------|
| loopback                     | everybody                      | a known person  |
| any other                    | a known person                 | a known person  |
| any other, no keys by choice | everybody (`HEADRACE_API_KEYS=none`: something in front checks them) | nobody |

The page itself, its files, and signing in are open everywhere.
"""

from collections.abc import Mapping
from importlib.metadata import version

import msgspec

from headrace.clock import Clock
from headrace.hosting.settings import Settings
from headrace_console.core.documents import Me
from headrace_edge.edge import Scope, peer_of
from headrace_edge.keys import is_loopback, load_people
from headrace_edge.rules.callers import Bucket, Unidentified, find_caller
from headrace_edge.rules.people import Person, person_of
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_edge.rules.requests import AdmittedRequest
from headrace_edge.rules.sessions import clear_cookie, refuse_forged, session_value, set_cookie

OPEN = ("/api/v1/me", "/api/v1/session")
# Attempts to sign in: a second on average, and at once, from everybody together.
_SIGN_INS_PER_S, _SIGN_INS = 1.0, 20.0


class _SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str


class Persons:
    """The people who are known. Raises `Misconfigured` for keys that cannot be read."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._known, self._clock = load_people(settings), clock
        has_any = bool(self._known.callers or self._known.trust.header)
        self._is_open = is_loopback(settings.http_host) or not has_any
        self._code_version = version("headrace")
        self._sign_ins = Bucket(_SIGN_INS, clock.monotonic_s())

    def admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Person | Reply | None:
        """The person who makes a call, None for a stranger who may read, or the refusal."""
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
        return Me(name, role, self._known.can_sign_in, self._code_version)

    async def session(self, request: AdmittedRequest[Person | None], method: str) -> Reply:
        """Begin or end a session."""
        if method == "DELETE":
            return as_json(200, self.me(None), {"Set-Cookie": clear_cookie(), "Cache-Control": "no-store"})
        wait_s = self._sign_ins.take(_SIGN_INS_PER_S, _SIGN_INS, self._clock.monotonic_s())
        if wait_s is not None:
            return error_reply(429, "too many attempts to sign in", wait_s)
        try:
            key = msgspec.json.decode(request.body, type=_SignIn).key
        except msgspec.MsgspecError:
            return error_reply(400, 'the body must be {"key": "..."}')
        now_s = self._clock.now_s()
        caller = find_caller(key, self._known.callers, now_s)
        if isinstance(caller, Unidentified):
            return error_reply(401, caller.value)
        if caller.role is None:
            return error_reply(401, "this key asks for predictions only: it has no role")
        is_secure = request.headers.get(b"x-forwarded-proto", b"") == b"https"
        cookie = set_cookie(session_value(caller, self._known.secret, now_s), is_secure=is_secure)
        found = Person(caller.name, caller.role, caller.deployments)
        return as_json(200, self.me(found), {"Set-Cookie": cookie, "Cache-Control": "no-store"})
