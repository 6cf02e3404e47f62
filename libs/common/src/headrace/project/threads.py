"""What a user's code has raised, in one line."""

_LONGEST_REASON = 1000


def said(error: BaseException) -> str:
    """A foreign exception in one line of bounded length; even one that cannot say what it is.

    >>> said(ValueError("no such gate"))
    'ValueError: no such gate'
    """
    try:
        text = str(error)
    except BaseException:
        text = "(it cannot say what is wrong)"
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return told if len(told) <= _LONGEST_REASON else f"{told[:_LONGEST_REASON]}..."
