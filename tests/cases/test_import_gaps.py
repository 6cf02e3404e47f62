"""Registration reports inputs that the contract lets be missing and the model does not."""

from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tests.cases.imported import registered

from headrace.models.engine import load
from headrace.models.gaps import gap_notes
from headrace.models.proving import Answering, prove_file
from headrace.project import Binary, Number

DICE = np.random.default_rng(3)
ROWS = DICE.normal(size=(300, 2))
FLAG = (ROWS[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    ("model", "is_noted"),
    [
        (LogisticRegression(), True),
        (make_pipeline(SimpleImputer(), LogisticRegression()), False),
        (HistGradientBoostingClassifier(max_iter=5), False),
    ],
)
def test_an_input_without_which_nothing_is_scored_is_named(model: Any, is_noted: bool) -> None:
    data = skops.io.dumps(model.fit(ROWS, FLAG))
    served = registered(data, "skops", [Number("a"), Number("b", nullable=True)], Binary("y", "1h"))
    answers = Answering(served.signature, served.agreed.answers.output, 2, served.agreed.answers.places)
    golden = prove_file(data, "skops", served.deployment, answers)
    notes = gap_notes(load(data, "skops"), served.deployment, answers, golden)
    assert [note.split(" may be missing")[0] for note in notes] == (["'b'"] if is_noted else [])
    assert all("put an imputer into the pipeline" in note for note in notes)
