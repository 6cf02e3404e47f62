"""What a consumer loop must do about a failure: each exception is named by that reaction.

`Retryable`: hold the offset and back off. `Poison`: dead-letter the record and go on. `Fatal`: stop and be restarted.
Anything else is a bug and stops the consumer loudly. Adapters translate foreign errors into these at the border.
"""

MAX_REASON = 1000


class HeadraceError(Exception):
    """An error whose message is meant for the person at the terminal: what was got, what was expected, the way out."""


class Retryable(HeadraceError):
    """The outside world is not ready (broker away, leader moving): nothing is lost by trying again later."""


class TooLarge(Retryable):
    """A record to be written is larger than its topic takes: not done, and what it was made from is to blame."""


class Poison(HeadraceError):
    """These bytes can never be understood. `field` names the offending field, when one can be named."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field

    @staticmethod
    def of(error: Exception) -> "HeadraceError":
        """What was raised while ONE record was decoded or handled: that record's, unless it says Retryable or Fatal.

        >>> Poison.of(Fatal("stop")), Poison.of(OverflowError("int too large"))
        (Fatal('stop'), Poison('OverflowError: int too large'))
        """
        if isinstance(error, HeadraceError):
            return error
        return Poison(f"{type(error).__name__}: {error}"[:MAX_REASON])


class Fatal(HeadraceError):
    """This process must not go on: stop, exit non-zero, be restarted by the supervisor."""


class Restart(Fatal):
    """What this process was built from has changed (a project, a topic): end, and be started anew at once."""


class Fenced(Fatal):
    """Another process owns this shard now; whatever this one had in flight was aborted."""


class Misconfigured(HeadraceError):
    """A setting, definition or topic is wrong; restarting does not help, the message says what does."""


class NoTopic(Misconfigured):
    """A topic is not there: who starts is wrongly configured, who runs already holds until it is there again."""
