"""An imported champion is compared with a version that is trained here by the classes of the label, whatever their order in its file."""

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from tests.cases.imported import registered

from headrace.features.dataset import Inputs, Rows
from headrace.models.engine import load
from headrace.models.matching import matched
from headrace.project import Binary, Number
from headrace.testing.registry import version_of
from headrace_trainer.adapters.champion import Champion
from headrace_trainer.core.target import target_of

DICE = np.random.default_rng(5)
ROWS = DICE.normal(size=(300, 2)).astype(np.float32)


@pytest.mark.parametrize("classes", [("yes", "no"), ("no", "yes")])
def test_a_champion_of_two_classes_is_asked_for_the_labels_second(classes: tuple[str, str]) -> None:
    model = LogisticRegression().fit(ROWS, np.where(ROWS[:, 0] > 0.5, "yes", "no"))
    label = Binary("y", "1d", classes=classes)
    served = registered(skops.io.dumps(model), "skops", [Number("a"), Number("b")], label)
    answers = served.agreed.answers
    version = version_of(
        1, output="binary", classes=answers.classes, class_places=answers.places, signature=served.signature
    )
    inputs = Inputs(served.deployment)
    for a, b in ROWS[:40].tolist():
        inputs.add({"a": a, "b": b})
    instants = version.lineage.request_to_s + np.arange(40.0)
    rows = Rows([str(n) for n in range(40)], [""] * 40, inputs, np.empty((40, 0)), np.zeros(40), instants)
    engine = matched(load(served.data, "skops"), served.signature)
    assert served.deployment.label is not None
    scores = Champion(version, engine).scores(target_of(served.deployment.label, []), served.deployment, rows)
    assert scores == pytest.approx(model.predict_proba(ROWS[:40])[:, 1 if classes[1] == "yes" else 0], abs=1e-6)
