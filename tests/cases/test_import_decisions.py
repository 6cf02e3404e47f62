"""Which class is which where a model's file leaves it open, and which one is answered where its maker decides by an own threshold."""

from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.cases.imported import registered

from headrace.errors import Misconfigured
from headrace.project import Binary, Multiclass, Number

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(300, 2))
FLAG = (ROWS[:, 0] + RNG.normal(size=300) > 0).astype(int)
GRADE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
INPUTS = [Number("a"), Number("b")]
ASKED = [dict(zip("ab", row.tolist(), strict=True)) for row in ROWS[:40]]
PETS = ["zebra", "ant", "dog"]


def notes_of(model: Any, label: Any = None) -> str:
    return " ".join(registered(skops.io.dumps(model.fit(ROWS, FLAG)), "skops", INPUTS, label).agreed.notes)


def test_codes_of_several_classes_are_not_taken_for_the_labels_order() -> None:
    """A LabelEncoder has encoded ant as 0, dog as 1 and zebra as 2."""
    model = LogisticRegression().fit(ROWS, GRADE)
    data, label = skops.io.dumps(model), Multiclass("pet", PETS, "1h")
    with pytest.raises(Misconfigured, match=r"does not name its classes.*such as --classes ant,dog,zebra"):
        registered(data, "skops", INPUTS, label)
    served = registered(data, "skops", INPUTS, label, classes=("ant", "dog", "zebra"))
    assert served.scores(ASKED) == pytest.approx(model.predict_proba(ROWS[:40])[:, [2, 0, 1]], abs=1e-6)


def test_0_and_1_of_two_classes_are_the_labels_as_it_declares() -> None:
    """`classes` of a `Binary` names 0 and 1, and outcomes may be given by these numbers too."""
    assert "class 0 of the model is 'yes'" in notes_of(LogisticRegression(), Binary("y", "1h", classes=["yes", "no"]))


@pytest.mark.parametrize(
    ("model", "threshold"),
    [
        (FixedThresholdClassifier(LogisticRegression(), threshold=0.9), "0.9"),
        (make_pipeline(StandardScaler(), FixedThresholdClassifier(LogisticRegression(), threshold=0.2)), "0.2"),
        (TunedThresholdClassifierCV(LogisticRegression(), scoring="recall", cv=3), "0."),
        (FixedThresholdClassifier(LogisticRegression()), None),
        (FixedThresholdClassifier(LogisticRegression(), threshold=0.5), None),
        (LogisticRegression(), None),
    ],
)
def test_a_threshold_of_the_models_own_is_noted(model: Any, threshold: str | None) -> None:
    found = notes_of(model)
    assert (f"decides by its own threshold ({threshold}" in found) == (threshold is not None), found
    assert ("`label` is the most probable class" in found) == (threshold is not None)


def test_classes_of_which_nothing_declares_which_one_is_1_are_noted() -> None:
    """Outcomes are 1 for a flight that was delayed, but the model's class 1 is "ontime"."""
    model = LogisticRegression().fit(ROWS, np.array(["ontime", "delayed"])[FLAG])
    served = registered(skops.io.dumps(model), "skops", INPUTS, Binary("late", "1h"))
    (note,) = served.agreed.notes[1:] if len(served.agreed.notes) > 1 else served.agreed.notes
    assert "0 for the model's class delayed and 1 for its class ontime" in note
