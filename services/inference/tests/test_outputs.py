"""What a model returns and where an answer goes: scores, faults, reply partitions."""

import math

import numpy as np
import pytest

from headrace.asking.headers import REPLY_PARTITION
from headrace.events.inference import (
    Score,
)
from headrace_inference.adapters.records import reply_partition
from headrace_inference.core.outputs import fault_of, faults_of_rows, scores_of


@pytest.mark.parametrize(
    ("raw", "output", "fault"),
    [
        ([[0.4, 0.6]], "binary", None),
        ([0.4], "number", None),
        ([[0.2, 0.3, 0.5]], "classes", None),
        ([[0.2, 0.3, 0.5]], "binary", "3 classes"),
        ([[0.4, 0.6], [0.4, 0.6]], "binary", "shape"),
        ([0.4], "binary", "shape"),
        ([[0.4]], "number", "shape"),
        ([[math.nan, 0.6]], "binary", "NaN"),
        ([math.inf], "number", "NaN"),
        ([[-0.5, 1.5]], "binary", "outside"),
    ],
)
def test_a_result_that_must_not_be_served_is_a_fault(raw: list[float], output: str, fault: str | None) -> None:
    found = fault_of(np.array(raw), 1, output) or faults_of_rows(np.array(raw), output).get(0)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_scores_carry_the_version_and_its_digest() -> None:
    assert scores_of(np.array([[0.4, 0.6]]), "binary", 3, "dig") == [Score(3, "dig", 0.6)]
    assert scores_of(np.array([1.5]), "number", 3, "dig") == [Score(3, "dig", 1.5)]
    assert scores_of(np.array([[0.4, 0.6]]), "classes", 3, "dig") == [Score(3, "dig", None, (0.4, 0.6))]


@pytest.mark.parametrize("named", ["-1", "8", "x", "", "\u00b2", "9" * 5000])
def test_a_reply_partition_that_does_not_exist_gets_no_reply(named: str) -> None:
    assert reply_partition({REPLY_PARTITION: named.encode()}, 8) is None
