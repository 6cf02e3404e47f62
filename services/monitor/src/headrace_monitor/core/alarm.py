"""Alerts as episodes: each opens once, and resolves. Shared with the supervisor, which says when the monitor itself is away."""

from headrace.hosting.alerts import RUNBOOKS, Alarm, fire, resolve

__all__ = ["RUNBOOKS", "Alarm", "fire", "resolve"]
