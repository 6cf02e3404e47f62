"""The compiled project: what services read instead of the user's code."""

import msgspec

from headrace.events.definition import ProjectDefinition


class ProjectApplied(msgspec.Struct, frozen=True):
    """A project as it stands. `reference`: where pipeline and trainer import it from (module:attribute, or a path).

    `claims`: since when (seconds since the epoch) it has declared each of its names, `kind/name`; a missing name counts
    from `applied_at_s`. A name belongs to the project that declared it first.
    """

    name: str
    digest: str
    reference: str
    definition: ProjectDefinition
    applied_at_s: float
    by: str = ""
    code_version: str = ""
    claims: dict[str, float] = {}
