"""What a person at the terminal is told when the broker cannot start."""


class BrokerError(Exception):
    """One sentence: what was found, what was expected, and the way out."""
