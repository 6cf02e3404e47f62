"""Acts: a command to the registry in a person's name, and what followed from it."""

from headrace_console.core.acts import Person
from headrace_edge.rules.replies import Reply, error_reply
from headrace_edge.rules.requests import AdmittedRequest


class Acts:
    """Carries out what a person does."""

    async def act(self, request: AdmittedRequest[Person]) -> Reply:
        """Carry out an act, or refuse it."""
        return error_reply(401, "sign in with your key first")
