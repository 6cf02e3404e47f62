"""Slices of a closed window, and the metrics of each."""

import math

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, decision

from headrace.events.definition import InputDefinition
from headrace.events.registry import ColumnPin
from headrace.features.outcomes import KnownOutcome
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.slices import MOST_VALUES
from headrace_monitor.core.windows import Late, Windows

SLICED = replace(
    DEPLOYMENT,
    inputs=(*DEPLOYMENT.inputs, InputDefinition("kind", "category")),
    slices=("kind", "carrier"),
    metrics=("f1",),
)
COLUMNS = {"s": (ColumnPin("hour"), ColumnPin("kind", ("cargo", "mail", "rare")))}
CODES = [0.0] * 60 + [1.0] * 40 + [2.0] * 29 + [float("nan")] * 3


def inputs(carriers: int = 2, least: int = 0) -> WindowInputs:
    found, sample = Windows(SLICED), []
    for n, code in enumerate(CODES):
        row = np.array([7.0, code], dtype="<f4").tobytes()
        made = decision(
            f"u{n}", float(n), 0.9 if n % 2 else 0.2, row=row, signature="s", entities={"carrier": f"c{n % carriers}"}
        )
        sample.append(made)
        found.add_decision(made, 0, n)
        # Of the first sixty half are answered right, of the others all.
        found.add_outcome(KnownOutcome(f"u{n}", float(n % 2) if n >= 60 else float(n % 4 == 1), n + 1.0))
    return WindowInputs(PROJECT, SLICED, found.rows_of(0.0, 2 * DAY), sample[least:], {}, {}, math.inf, columns=COLUMNS)


def test_a_slice_has_the_loss_the_named_metrics_and_its_rows() -> None:
    (quality,) = evaluate(inputs(), 0.0, Late(), None).qualities
    found = {name: value for name, value in quality.metrics.items() if "@kind" in name}
    loss = -(30 * np.log(0.8) + 15 * np.log(0.9) + 15 * np.log(0.1)) / 60
    assert found == {
        "log_loss@kind=cargo": pytest.approx(loss),
        "f1@kind=cargo": pytest.approx(2 / 3),
        "rows@kind=cargo": 60.0,
        "log_loss@kind=mail": pytest.approx(-(np.log(0.8) + np.log(0.9)) / 2),
        "f1@kind=mail": 1.0,
        "rows@kind=mail": 40.0,
    }
    assert quality.metrics["f1"] == pytest.approx(2 * 51 / (2 * 51 + 15))
    assert [name for name in quality.metrics if name.startswith("rows@carrier")] == [
        "rows@carrier=c0",
        "rows@carrier=c1",
    ]


def test_rare_values_and_rows_that_are_not_read_again_are_in_no_slice() -> None:
    (quality,) = evaluate(inputs(carriers=5, least=40), 0.0, Late(), None).qualities
    assert {name for name in quality.metrics if name.startswith("rows@")} == {"rows@kind=mail"}
    assert sum(name.startswith("rows@carrier") for name in quality.metrics) <= MOST_VALUES
    assert quality.rows == len(CODES)
