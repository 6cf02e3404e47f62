"""The project of the drill: machines that send a pulse, and a deployment with every step of the fallback chain.

The inputs of a request choose the fault of the champion: an unknown `code` makes it raise, a `level` other than 0
makes it return NaN, and a missing `depth` makes it search all its memory (see `models.py`).
"""

import msgspec

from headrace.project import (
    BlueGreen,
    Breaker,
    Count,
    Deployment,
    FeatureView,
    Key,
    Mean,
    Number,
    Project,
    Source,
    baseline,
    previous,
    prior,
)

MACHINES = tuple(f"machine-{number}" for number in range(8))


class Pulse(msgspec.Struct):
    """A machine is alive."""

    machine: str
    load: float
    at: float


pulses = Source("pulses", event=Pulse, event_time="at", key="machine")
pulse = FeatureView(
    "pulse",
    source=pulses,
    entity="machine",
    features={"load_1h": Mean("load", "1h", stale_after="3s"), "count_1h": Count("1h", stale_after="3s")},
)
drill = Deployment(
    "drill",
    unit="job",
    inputs=[Number("code"), Number("level"), Number("depth", nullable=True), Number("size"), Key("machine")],
    features=[pulse.by("machine")],
    feature_delay="0s",
    fallback=[previous, baseline, prior(0.5)],
    rollout=BlueGreen(guardrails=()),
    time_limit="1.5s",
    breaker=Breaker(slow="10s", rest="2s", window="4s"),
    degrade_when=0.5,
)
project = Project("drill", [drill], sources=[pulses], views=[pulse])
