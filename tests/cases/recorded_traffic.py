"""Traffic of a champion as it is recorded, for the tests of simulated rollouts."""

import numpy as np

from headrace.events.definition import DeploymentDefinition, LabelDefinition, RolloutDefinition
from headrace.project import Binary, BlueGreen, Canary, Deployment, Multiclass, Number, Project, Regression
from headrace.project.compile import compile_project
from headrace_cli.simulation.recorded import Recorded

DAY_S, HOUR_S = 86_400.0, 3600.0
START_S = 19_000 * DAY_S


def deployment(
    rollout: Canary | BlueGreen, label: Binary | Multiclass | Regression | None = None
) -> DeploymentDefinition:
    declared = Deployment("d", "unit", [Number("x")], label=label or Binary("y", "24h"), rollout=rollout)
    return compile_project(Project("p", [declared])).deployments[0]


def recorded(days: int = 20, a_day: int = 240, *, missing: float = 0.0, daily: float = 0.0, seed: int = 1) -> Recorded:
    """A calibrated champion of a binary label. `missing`: the share of labels that never come; `daily`: how much harder
    half of the day is.
    """
    dice = np.random.default_rng(seed)
    at_s = START_S + np.arange(days * a_day) * DAY_S / a_day
    spread = 1.8 - daily * (np.sin(2 * np.pi * at_s / DAY_S) > 0)
    scores = 1 / (1 + np.exp(-dice.normal(-0.5, spread)))
    labels = (dice.random(len(at_s)) < scores).astype(float)
    labels[dice.random(len(at_s)) < missing] = np.nan
    lag_s = np.full(len(at_s), 2 * HOUR_S)
    label = LabelDefinition("y", "binary", DAY_S)
    return Recorded(label, at_s, scores.astype(np.float32), labels, lag_s, START_S + (days + 2) * DAY_S)


def of_classes(days: int = 8, a_day: int = 120) -> Recorded:
    dice = np.random.default_rng(2)
    at_s = START_S + np.arange(days * a_day) * DAY_S / a_day
    scores = dice.dirichlet([1.0, 0.7, 0.4], len(at_s))
    labels = np.array([dice.choice(3, p=own) for own in scores], dtype=float)
    label = LabelDefinition("y", "classes", DAY_S, classes=("a", "b", "c"))
    return Recorded(
        label, at_s, scores.astype(np.float32), labels, np.full(len(at_s), HOUR_S), START_S + (days + 2) * DAY_S
    )


def of_numbers(low: float | None = 0.0, high: float | None = 100.0, days: int = 8, a_day: int = 80) -> Recorded:
    dice = np.random.default_rng(3)
    at_s = START_S + np.arange(days * a_day) * DAY_S / a_day
    labels = dice.uniform(0, 100, len(at_s))
    scores = np.clip(labels + dice.normal(0, 15, len(at_s)), 0, 100).astype(np.float32)
    label = LabelDefinition("y", "number", DAY_S, low=low, high=high)
    return Recorded(label, at_s, scores, labels, np.full(len(at_s), HOUR_S), START_S + (days + 2) * DAY_S)


def plan(policy: str = "canary", **fields: object) -> RolloutDefinition:
    """A plan with few and wide blocks, which are quick to simulate."""
    chosen = {
        "min_cycles": 5,
        "block_s": 6 * HOUR_S,
        "ranking_limit": 0.4,
        "give_up_s": 20 * DAY_S,
        "margin": 0.02,
    } | fields
    return RolloutDefinition(policy, **chosen)  # type: ignore[arg-type]
