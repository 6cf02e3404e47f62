"""Counts answered HTTP requests by the class of their status, and how long they took."""

from headrace.hosting.catalogue import HTTP, HTTP_REQUESTS
from headrace.hosting.health import Health

_CLASSES = {first: f"{first}xx" for first in range(1, 6)}


def note_answer(health: Health, status: int, took_s: float | None) -> None:
    """One request was answered. `took_s`: None for a stream, which takes as long as its reader stays."""
    health.measured.count(HTTP_REQUESTS, health.service, _CLASSES.get(status // 100, "5xx"))
    if took_s is not None:
        health.measured.observe(HTTP, health.service, value=took_s)
