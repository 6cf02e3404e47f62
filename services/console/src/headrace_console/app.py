"""The one place where console is wired."""

from collections.abc import Sequence

from headrace.hosting.runtime import Runnable
from headrace.project.service import Context


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return []
