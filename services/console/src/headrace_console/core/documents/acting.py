"""What a person may do, and what followed."""

import msgspec

from headrace_console.core.documents.words import ActName, Role


class Offer(msgspec.Struct, frozen=True):
    """Something that a person may do now. The page shows it as a button to those who have the role.

    `sentence`: what will happen, with names and numbers. `deployment`, `version`, `target`: sent back with the act;
    `target` is the alert's fingerprint, or the silence. `needs_another`: the approver must not be this person.
    """

    act: ActName
    label: str
    sentence: str
    needs: Role
    deployment: str = ""
    version: int | None = None
    target: str = ""
    needs_another: str = ""


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends to `POST /api/v1/acts`. `for_s`: of a silence."""

    act: ActName
    reason: str
    deployment: str = ""
    version: int | None = None
    target: str = ""
    for_s: float | None = None


class ActDone(msgspec.Struct, frozen=True):
    """The answer to an act: the record that it made, and what followed from it. `refused`: why not, "" if it was done."""

    place: str
    facts: tuple[str, ...] = ()
    refused: str = ""


class Me(msgspec.Struct, frozen=True):
    """Who looks at the page. `role`: None for a stranger, who sees no button. `can_sign_in`: keys of persons exist.
    `runbook_url`: where the folder of runbooks can be read, "" for nowhere.
    """

    name: str
    role: Role | None
    can_sign_in: bool
    code_version: str = ""
    runbook_url: str = ""
