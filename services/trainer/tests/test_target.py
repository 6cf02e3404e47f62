"""What is fitted, and read of a model, per kind of label."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from headrace.events.definition import LabelDefinition
from headrace.events.registry import ColumnPin, Signature
from headrace_trainer.core.profiles import slices_of
from headrace_trainer.core.target import Target, Unfit, target_of

ROWS = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
NUMBERS = 10.0 * ROWS[:, 0] + 100.0
FIVE = Target("classes", ("a", "b", "c", "d", "e"))
INDEXES = np.digitize(ROWS[:, 0], [-1, -0.3, 0.3, 1]).astype(float)


class Noting(DecisionTreeClassifier):
    """Keeps what it was fitted on."""

    def fit(self, rows: Any, y: Any) -> "Noting":
        self.given_ = y
        return super().fit(rows, y)


@pytest.mark.parametrize(
    ("target", "labels", "kind"),
    [(Target("binary"), (INDEXES > 2).astype(float), "f"), (FIVE, INDEXES, "i")],
)
def test_two_classes_are_fitted_as_zero_and_one_and_several_as_indices(target: Target, labels: Any, kind: str) -> None:
    model = target.fit(Noting(), ROWS, labels)
    assert model.given_.dtype.kind == kind
    assert model.given_.tolist() == labels.tolist()


def test_scores_are_the_models_own() -> None:
    positive = (INDEXES > 2).astype(float)
    two, five, number = Target("binary"), FIVE, Target("number")
    binary = two.fit(LogisticRegression(), ROWS, positive)
    classes = five.fit(LogisticRegression(), ROWS, INDEXES)
    regressor = number.fit(LinearRegression(), ROWS, NUMBERS)
    assert two.scores(binary, ROWS).tolist() == binary.predict_proba(ROWS)[:, 1].tolist()
    assert five.scores(classes, ROWS).tolist() == classes.predict_proba(ROWS).tolist()
    assert number.scores(regressor, ROWS).tolist() == regressor.predict(ROWS).tolist()
    assert five.places(classes) == ()


def test_a_class_without_rows_has_probability_zero_in_its_place() -> None:
    labels = np.where(INDEXES == 2, 4.0, INDEXES)
    model = FIVE.fit(LogisticRegression(), ROWS, labels)
    assert FIVE.places(model) == (0, 1, 3, 4)
    scores = FIVE.scores(model, ROWS)
    assert scores.shape == (400, 5)
    assert scores[:, 2].tolist() == [0.0] * 400
    assert scores[:, 4].tolist() == model.predict_proba(ROWS)[:, 3].tolist()


def test_an_estimator_that_needs_every_class_is_refused_with_the_one_that_has_no_rows() -> None:
    class Picky(DecisionTreeClassifier):
        """As XGBoost's classifier is."""

        def fit(self, rows: Any, y: Any) -> "Picky":
            if set(y) != set(range(len(set(y)))):
                raise ValueError("Invalid classes inferred from unique values of `y`")
            return super().fit(rows, y)

    with pytest.raises(Unfit, match=r"Invalid classes .* \(no row to fit on is of c\)"):
        FIVE.fit(Picky(), ROWS, np.where(INDEXES == 2, 4.0, INDEXES))


@pytest.mark.parametrize(
    ("target", "model", "labels", "reason"),
    [
        (
            Target("number"),
            DecisionTreeRegressor(),
            np.column_stack([NUMBERS, NUMBERS]),
            "one number per row is wanted",
        ),
        (Target("binary"), DecisionTreeClassifier(), INDEXES, "for 400 rows of 2 classes"),
    ],
)
def test_what_cannot_be_read_so_is_refused_in_our_words(target: Target, model: Any, labels: Any, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        target.scores(model.fit(ROWS, labels), ROWS)


def test_a_column_of_numbers_is_one_number_a_row() -> None:
    model = LinearRegression().fit(ROWS, NUMBERS.reshape(-1, 1))
    assert Target("number").scores(model, ROWS).shape == (400,)


def test_figures_are_those_of_the_kind() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0])
    assert Target("number").figures(labels + np.array([1, -1, 1, -1]), labels) == {
        "rmse": 1.0,
        "mae": 1.0,
        "r2": pytest.approx(0.2),
    }
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    three = Target("classes", ("a", "b", "c"))
    assert three.figures(probabilities, np.array([0.0, 1.0])) == {
        "log_loss": pytest.approx(-np.log([0.7, 0.2]).mean()),
        "accuracy": 0.5,
    }
    assert Target("binary").figures(np.array([0.2, 0.9]), np.array([0.0, 1.0]))["auc"] == 1.0
    assert "auc" not in Target("binary").figures(np.array([0.2, 0.9]), np.array([1.0, 1.0]))


def test_classes_without_names_are_as_many_as_the_labels_tell() -> None:
    found = target_of(LabelDefinition("y", "classes", 60.0), np.array([0.0, 3.0, 1.0]))
    assert (found.kind, found.classes) == ("classes", ("0", "1", "2", "3"))


def test_slices_are_of_every_kind() -> None:
    signature = Signature((ColumnPin("carrier", ("AA",)), ColumnPin("x")), "s")
    inputs = [{"carrier": "AA"}] * 400
    model, number = FIVE.fit(LogisticRegression(), ROWS, INDEXES), Target("number")
    regressor = number.fit(LinearRegression(), ROWS, NUMBERS)
    found = slices_of(signature, number, inputs, number.scores(regressor, ROWS), NUMBERS)["carrier=AA"]
    assert set(found) == {"rows", "mean_label", "mean_score", "rmse", "mae", "r2"}
    classes = slices_of(signature, FIVE, inputs, FIVE.scores(model, ROWS), INDEXES)["carrier=AA"]
    assert set(classes) == {"rows", "log_loss", "accuracy"}
