"""Who looks at the page, and who acts. Without keys of persons everybody on this machine may look, and nobody may act."""

from collections.abc import Mapping
from importlib.metadata import version

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_console.core.acts import Person
from headrace_console.core.documents import Me
from headrace_edge.edge import Scope
from headrace_edge.keys import is_loopback
from headrace_edge.rules.replies import Reply, error_reply
from headrace_edge.rules.requests import AdmittedRequest

STRANGER = Person("", None)


class Persons:
    """The people who are known by a key."""

    def __init__(self, settings: Settings) -> None:
        if not is_loopback(settings.http_host):
            raise Misconfigured("the console needs keys of persons on an address other than loopback")
        self._code_version = version("headrace")

    def admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Person | Reply:
        """The person who makes a call, or the refusal."""
        return STRANGER

    def me(self, person: Person) -> Me:
        """What the page says of a person."""
        return Me(person.name, person.role, False, self._code_version)

    async def session(self, request: AdmittedRequest[Person], method: str) -> Reply:
        """Begin or end a session."""
        return error_reply(401, "there are no keys of persons here")
