"""The error of a broker that cannot start, for a person at the terminal."""


class BrokerError(Exception):
    """One sentence: what was found, what was expected, and the way out."""
