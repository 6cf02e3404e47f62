"""What the command asks of a back-test's process, and what comes back: one JSON object a line."""

from typing import Any

import msgspec


class Order(msgspec.Struct, frozen=True):
    """A back-test of [from_s, to_s); `to_s`: None for the end of the log.

    `policies`: a file, "" for the deployment's own policy. `plants`: faults, as written. `training_s`: how long a training
    takes in event time; the rollout's least time is added. `fits`: at most so many versions are fitted for calendars.
    `rows`: where the rows are written as Parquet, "" for nowhere.
    """

    deployment: str
    from_s: float
    to_s: float | None = None
    policies: str = ""
    plants: tuple[str, ...] = ()
    training_s: float = 3600.0
    fits: int = 60
    rows: str = ""


class Progressed(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is. `share`: of the whole, 0..1."""

    share: float
    what: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why it ended. `is_mistake`: what was asked for cannot be done, whatever the state of the log."""

    reason: str
    is_mistake: bool


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The report as plain values, see `headrace_backtest.report`."""

    report: dict[str, Any]


Line = Progressed | Failed | Done
