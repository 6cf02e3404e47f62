"""The A/A arms that `apply` takes, and those that it refuses, with the sentence."""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from headrace.events.definition import LabelDefinition
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.project.faults import faults
from headrace.project.rules.deployments import deployment_rules

BINARY = Binary("late", "1h")


def sentences(share: float, label: Any = BINARY) -> list[str]:
    found = Deployment("d", "u", [Number("hour")], label=label, audit_share=share)
    return [str(one) for one in faults(Project("p", [found]))]


@pytest.mark.parametrize(
    ("share", "shown"), [(0.51, "0.51"), (10, "10"), (-0.1, "-0.1"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_a_share_outside_0_to_half_is_refused(share: float, shown: str) -> None:
    assert sentences(share) == [f"deployment d: audit_share must lie in 0..0.5, got {shown} (percent?)"]


def test_an_arm_needs_scores_to_compare() -> None:
    assert sentences(0.1, None) == [
        "deployment d: audit_share compares labelled rows, and no label is declared; give it a label, or leave it out"
    ]
    project = compile_project(Project("p", [Deployment("d", "u", [Number("hour")], label=BINARY, audit_share=0.1)]))
    endless = replace(project.deployments[0], label=LabelDefinition("minutes", "number", 3600.0))
    assert list(deployment_rules(project, endless)) == [
        "deployment d: audit_share compares errors as shares of the label's range; give minutes a low and a high"
    ]


def test_an_arm_is_compiled_and_none_is_the_default() -> None:
    assert [sentences(share) for share in (0.0, 0.1, 0.5)] == [[], [], []]
    compiled = [
        compile_project(Project("p", [Deployment("d", "u", [Number("hour")], label=BINARY, **more)])).deployments[0]
        for more in ({}, {"audit_share": 0.1})
    ]
    assert [one.audit_share for one in compiled] == [0.0, 0.1]
