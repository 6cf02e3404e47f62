"""Level 1: the declaration is two statements, and the model may be loaded."""

import numpy as np
import skops.io

from headrace.features.rows import RowMaker, bare_signature, check_inputs
from headrace.models.skops_format import load
from headrace.project.compile import compile_project
from headrace_tumour.patient import pairs
from headrace_tumour.project import COLUMNS, project
from headrace_tumour.train import fit

DEFINITION = compile_project(project)
DEPLOYMENT = DEFINITION.deployments[0]


def patient(number: int) -> dict[str, float]:
    return {name: float(value) for name, value in (pair.split("=") for pair in pairs(number))}


def test_only_name_unit_and_inputs_are_declared() -> None:
    assert (DEPLOYMENT.training, DEPLOYMENT.features, DEPLOYMENT.label, DEPLOYMENT.fallback) == (None, (), None, ())
    assert len(COLUMNS) == 30


def test_a_patient_keeps_the_contract_and_a_negative_radius_does_not() -> None:
    assert check_inputs(DEPLOYMENT, patient(0)) is None
    refused = check_inputs(DEPLOYMENT, patient(0) | {"mean_radius": -1.0})
    assert refused is not None
    assert refused.field == "mean_radius"


def test_the_saved_model_is_on_the_allow_list_and_knows_the_first_patient_is_malignant() -> None:
    model = load(skops.io.dumps(fit()))
    row = RowMaker(DEPLOYMENT, bare_signature(DEFINITION, DEPLOYMENT)).rows([patient(0)], np.empty((1, 0)))
    assert model.predict_proba(row)[0, 1] > 0.99
