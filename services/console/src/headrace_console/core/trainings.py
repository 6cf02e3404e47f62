"""Retrain requests and runs: the newest `KEPT` of each deployment, as marks of the charts and as what goes on now."""

from collections import deque
from typing import Any

from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished, TrainingProgressed
from headrace_console.core.documents import SeriesMark
from headrace_console.core.links import deployment_link
from headrace_console.core.seen import Seen

KEPT = 100


class Trainings:
    """What was asked of the trainer."""

    def __init__(self) -> None:
        self._marks: dict[str, deque[tuple[str, SeriesMark]]] = {}
        self._running: dict[str, str] = {}

    def marks(self, deployment: str) -> list[tuple[str, SeriesMark]]:
        """The retrains of a deployment with their places."""
        return list(self._marks.get(deployment, ()))

    def running(self, deployment: str) -> str:
        """What a run is doing now, "" for none."""
        return self._running.get(deployment, "")

    def take(self, seen: Seen) -> str:
        """Take a request or a fact. Returns the deployment, "" for none."""
        event: Any = seen.event
        deployment = getattr(event, "deployment", "")
        match event:
            case RetrainRequested():
                at_s, clock = (seen.appended_s, "wall") if event.clock_s is None else (event.clock_s, "event")
                text = f"retrain requested by {event.by}: {event.reason}"
                mark = SeriesMark(at_s, clock, "retrain", text, deployment_link(deployment), seen.appended_s)
                self._marks.setdefault(deployment, deque(maxlen=KEPT)).append((seen.place, mark))
            case RetrainAccepted():
                self._running[deployment] = "training begins"
            case TrainingProgressed():
                self._running[deployment] = f"training: {event.stage}, {event.share:.0%}"
            case TrainingFinished():
                self._running.pop(deployment, None)
        return deployment
