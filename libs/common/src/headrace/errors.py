"""Exceptions named by what a consumer loop must do about them.

`Retryable`: hold the offset and back off. `Poison`: dead-letter the record and go on. `Fatal`: stop and be restarted.
Anything else is a bug and stops the consumer loudly. Adapters translate foreign errors into these.
"""

MAX_REASON = 1000


class HeadraceError(Exception):
    """An error whose message is for the person at the terminal: what was got, what was expected, and the way out."""


class Retryable(HeadraceError):
    """The outside world is not ready (broker away, leader moving). Trying again later loses nothing."""


class TooLarge(Retryable):
    """A record is larger than its topic allows. It was not written, and the record that it was made from is at
    fault.
    """


class Poison(HeadraceError):
    """These bytes can never be read. `field`: the field at fault, where one can be named."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field

    @staticmethod
    def of(error: Exception) -> "HeadraceError":
        """The error of handling ONE record: it is the record's fault, unless it is a HeadraceError already.

        >>> Poison.of(Fatal("stop")), Poison.of(OverflowError("int too large"))
        (Fatal('stop'), Poison('OverflowError: int too large'))
        """
        if isinstance(error, HeadraceError):
            return error
        return Poison(f"{type(error).__name__}: {error}"[:MAX_REASON])


class Fatal(HeadraceError):
    """This process must stop, exit non-zero, and be restarted by the supervisor."""


class Restart(Fatal):
    """What this process was built from has changed (a project, a topic): it must end and be started again at once."""


class Fenced(Fatal):
    """Another process owns this shard now. What this process had in flight was aborted."""


class Misconfigured(HeadraceError):
    """A setting, definition or topic is wrong. Restarting does not help; the message says what does."""


class NoTopic(Misconfigured):
    """A topic is missing. A process that starts is misconfigured; one that runs waits until the topic is back."""
