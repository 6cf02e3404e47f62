"""Which definition of a deployment is in force: the newest whose views are built, so that a change of views takes effect
when their tiles are complete, and the one before answers until then.
"""

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.features.store import OnlineStore
from headrace.project.applied import Projects

Found = tuple[ProjectDefinition, DeploymentDefinition]


class Definitions:
    """Deployments by name."""

    def __init__(self, projects: Projects, store: OnlineStore) -> None:
        self._projects, self._store = projects, store
        self._in_force: dict[str, Found] = {}

    def deployment(self, name: str) -> Found | None:
        """The definition in force with its project; None when no applied project declares the deployment."""
        newest = self._projects.deployment(name)
        known = self._in_force.get(name)
        if newest is None or (known is not None and known[1] is newest[1]):
            return newest
        waits_for = [binding.view for binding in newest[1].features if not self._store.is_built(binding.key)]
        if known is not None and waits_for:
            return known
        if not waits_for:
            self._in_force[name] = newest
        return newest

    def newest(self, name: str) -> Found | None:
        """The newest definition with its project, whether it is in force or not yet."""
        return self._projects.deployment(name)

    async def catch_up(self) -> None:
        """Wait (a second at most) until all that is applied by now is known here."""
        await self._projects.catch_up()
