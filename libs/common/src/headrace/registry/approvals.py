"""Who may approve a version: anybody, or only somebody else than its authors where the project demands four eyes."""

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import VersionRegistered
from headrace.registry.state import Entry

# Who registers what was trained by itself: no person.
_NOBODY = ("", "trainer")


def authors_of(version: VersionRegistered) -> tuple[str, ...]:
    """The persons by whom a version is there: who registered it, asked for its training by hand, or waived its gates.

    () for a version that was trained on a finding.
    """
    named = (version.by, version.asked_by, *(waiver.by for waiver in version.waivers))
    return tuple(dict.fromkeys(name for name in named if name not in _NOBODY))


def may_approve(plan: RolloutDefinition, version: VersionRegistered, name: str) -> bool:
    """Whether the approval of this person counts. Names that differ in capitals alone are one person."""
    if not plan.approval_by_another:
        return True
    authors = {author.strip().casefold() for author in authors_of(version)}
    return bool(name.strip()) and name.strip().casefold() not in authors


def approver_of(plan: RolloutDefinition, entry: Entry, version: int) -> str | None:
    """Whose approval of a version counts; None where nobody's does."""
    approved_by = entry.approvals.get(version)
    if approved_by is None or not may_approve(plan, entry.versions[version], approved_by):
        return None
    return approved_by
