"""A project with a stream, a source, a view and a deployment, each of which can be declared otherwise."""

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.project import (
    Binary,
    Canary,
    Category,
    Count,
    Deployment,
    Derived,
    FeatureView,
    Key,
    Mean,
    Number,
    PageHinkley,
    Project,
    RawStream,
    Reference,
    Retraining,
    Source,
    Training,
    baseline,
    outcomes,
    pipeline,
    prior,
)


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
FEED = RawStream("feed")
CARRIER = FeatureView("carrier", LANDINGS, "carrier", {"mean": Mean("delay", "3h"), "n": Count("1d", stale_after="2h")})


@pipeline(FEED, to=[LANDINGS, outcomes("late")])
async def land(messages: Any) -> Any:
    async for _ in messages:
        yield None


def build(signature: Any) -> Any:
    return None


def deployment(**changes: Any) -> Deployment:
    return Deployment(
        **{
            "name": "late",
            "unit": "flight",
            "inputs": [Number("hour", 0, 23), Category("dest"), Key("carrier")],
            "features": [CARRIER.by("carrier")],
            "derived": [Derived("twice", lambda r: r.hour * 2)],
            "label": Binary("late", "1d"),
            "training": Training(build),
            "monitoring": [PageHinkley()],
            "retraining": Retraining(),
            "rollout": Canary(),
            "fallback": [baseline, prior(0.2)],
        }
        | changes
    )


def project(**changes: Any) -> Project:
    return Project(
        **{
            "name": "p",
            "deployments": [deployment()],
            "raw": [FEED],
            "pipelines": [land],
            "sources": [LANDINGS],
            "views": [CARRIER],
            "references": [Reference("carriers")],
        }
        | changes
    )


def source(**changes: Any) -> Callable[[], Project]:
    found = Source(**{"name": "landings", "event": Landing, "event_time": "at", "key": "carrier"} | changes)
    return lambda: Project("p", [Deployment("d", "u", [Key("k")])], sources=[found])


def view(window: Any = "3h", **changes: Any) -> Callable[[], Project]:
    arguments = {"name": "v", "source": LANDINGS, "entity": "carrier", "features": {"n": Count(window)}} | changes
    return lambda: Project(
        "p", [Deployment("d", "u", [Key("k")])], sources=[LANDINGS], views=[FeatureView(**arguments)]
    )
