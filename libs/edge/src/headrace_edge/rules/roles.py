"""What a person may do, in three steps."""

from enum import StrEnum


class Role(StrEnum):
    """A viewer looks; an operator acts (pause, roll back, silence); an approver also lets versions take traffic."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"

    @staticmethod
    def of(word: str) -> "Role | None":
        """The role that is called so; None for none."""
        return next((role for role in Role if role.value == word), None)

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what the other may.

        >>> Role.APPROVER.includes(Role.OPERATOR), Role.VIEWER.includes(Role.OPERATOR)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(other)
