"""What to expect of a rollout before it begins."""

import math

import numpy as np
import pytest

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import WindowClosed
from headrace.project import Binary, BlueGreen, Canary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_cli.projects.expectations import expectations

DAY_S = 86_400.0
WINDOWS = [WindowClosed("d", n * DAY_S, (n + 1) * DAY_S, 1000, 900, 0.2, "PASS") for n in range(9)]


def deployment(rollout: Canary | BlueGreen) -> DeploymentDefinition:
    declared = Deployment("d", "unit", [Number("x")], label=Binary("y", "24h"), rollout=rollout)
    return compile_project(Project("p", [declared])).deployments[0]


def pairs(noise: float) -> list[tuple[float, float]]:
    rng = np.random.default_rng(0)
    new = rng.beta(2, 5, 300)
    return list(zip(new.tolist(), np.clip(new + rng.normal(0, noise, 300), 0.01, 0.99).tolist(), strict=True))


def test_without_a_shadow_only_the_least_days_are_given() -> None:
    found = expectations(deployment(Canary(shares=[0.5, 1], step="6h")), WINDOWS, "canary")
    assert (found.labels_a_day, found.blocks_a_day, found.expected_days) == (900.0, 24.0, None)
    assert found.least_days == pytest.approx(25 / 24)  # the labels of the first block take longer than the steps
    assert found.line == "labels a day: 900 of 1,000 requests; blocks a day: 24; days to a decision: 1.04 at the least"


def test_with_a_shadow_the_days_follow_from_how_far_the_two_lie_apart() -> None:
    near, far = (
        expectations(deployment(Canary(margin=0.02, label_delay="6h")), WINDOWS, "canary", pairs(noise))
        for noise in (0.02, 0.15)
    )
    assert near.expected_days is not None
    assert far.expected_days is not None
    assert near.least_days <= near.expected_days < far.expected_days < math.inf
    assert "if it is as good as the champion" in near.line


def test_nothing_is_made_up_before_the_first_window() -> None:
    found = expectations(deployment(Canary()), [], "canary", pairs(0.1))
    assert (found.labels_a_day, found.expected_days) == (None, None)
    assert "not known yet" in found.line


def test_blue_green_needs_no_labels() -> None:
    assert "as soon as the version is warm" in expectations(deployment(BlueGreen()), WINDOWS, "blue_green").line
