"""A project that can be applied, with a line for each argument, and the means to spoil a line of it."""

import importlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace_cli.projects.apply import Checked, check_project

PROJECT = """from datetime import datetime

import msgspec

from headrace.project import *


class Landing(msgspec.Struct):
    at: datetime
    carrier: str
    delay: float | None = None


def build(signature):
    return None


feed = RawStream(
    "feed",
    partitions=2,
)
landings = Source(
    "landings",
    event=Landing,
    event_time="at",
    key="carrier",
    available_after="1h",
)
carrier = FeatureView(
    "carrier",
    source=landings,
    entity="carrier",
    features={
        "delay_3h": Mean("delay", "3h"),
        "landed": Count(window="24h", stale_after="2h"),
    },
)


@pipeline(
    feed,
    to=[landings, outcomes("late")],
    limit="30s",
)
async def land(messages):
    async for message in messages:
        yield message


late = Deployment(
    "late",
    unit="flight",
    inputs=[
        Number("hour", low=0, high=23),
        Number("miles", 10, 6000),
        Category("dest"),
        Key("carrier"),
    ],
    features=[
        carrier.by("carrier"),
    ],
    derived=[
        Derived("speed", lambda r: r.miles / 60),
    ],
    label=Binary(
        "late",
        horizon="12h",
        absent="unknown",
    ),
    feature_delay="15m",
    fallback=[
        previous,
        prior(0.25),
    ],
    training=Training(
        build,
        history="180d",
        holdout="7d",
        embargo="1d",
        first_after="30d",
        min_rows=1000,
        seed=3,
    ),
    gates=[
        beats_prior(margin=0.01),
        not_worse_than_champion(0.02),
    ],
    monitoring=[
        PageHinkley(
            "log_loss",
            delta=0.02,
            threshold=0.8,
            min_windows=7,
        ),
    ],
    retraining=Retraining(
        on=["drift", "skew"],
        cooldown="7d",
    ),
    rollout=Canary(
        shares=[0.05, 0.25, 1],
        step="6h",
        label_delay="11h",
        guardrails=[
            Guardrail("errors", 0.02),
            Guardrail("latency", 3.0),
        ],
    ),
    evaluation_window="1d",
    coverage=0.98,
    breaker=Breaker(
        failure_share=0.5,
        slow="2s",
        min_calls=3,
        window_calls=100,
    ),
    time_limit="5s",
    degrade_when=0.5,
)
project = Project(
    "flights",
    deployments=[late],
    raw=[feed],
    pipelines=[land],
    sources=[landings],
    views=[carrier],
)
"""
_NUMBERS = itertools.count()


@contextmanager
def written(folder: Path, text: str) -> Iterator[Path]:
    """A module with a name of its own, which is removed afterwards."""
    name = f"declared_{next(_NUMBERS)}"
    file = folder / f"{name}.py"
    file.write_text(text)
    importlib.invalidate_caches()
    try:
        yield file
    finally:
        sys.modules.pop(name, None)
        sys.path[:] = [place for place in sys.path if place != str(folder)]


def spoiled(old: str, new: str) -> str:
    """The project's text with `old`, which must occur exactly once, replaced by `new`."""
    assert PROJECT.count(old) == 1, f"{old!r} stands there {PROJECT.count(old)} times"
    return PROJECT.replace(old, new)


def checked(folder: Path, text: str) -> Checked:
    """A file as `headrace check` and `headrace apply` read it."""
    with written(folder, text) as file:
        return check_project(str(file))
