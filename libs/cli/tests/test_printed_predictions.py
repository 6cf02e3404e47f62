"""The output of `headrace predict` and `headrace explain` for each kind of answer."""

import pytest

from headrace.asking.prediction import OutputKind, Prediction
from headrace.errors import HeadraceError, Misconfigured
from headrace.events.inference import FellBack, Score, Served
from headrace.evidence.explain import described
from headrace_cli.commands.daily import prediction_line, unanswered


def served(**fields: object) -> Prediction:
    return Prediction(deployment="d", request_id="r", outcome="served", step="champion", version=3, **fields)  # ty: ignore[invalid-argument-type]  # of every kind


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (served(value=0.25, label=0), "[bold]0.25[/] by version 3"),
        (served(value=0.25, label="on time"), "[bold]on time[/] (probability 0.75) by version 3"),
        (served(value=0.9, label="late"), "[bold]late[/] (probability 0.9) by version 3"),
        (served(value=152.5), "[bold]152.5[/] by version 3"),
        (
            served(label="owl", probabilities={"cat": 0.125, "owl": 0.875}),
            "[bold]owl[/] (owl 0.875, cat 0.125) by version 3",
        ),
    ],
)
def test_an_answer_is_printed_by_its_kind(found: Prediction, expected: str) -> None:
    assert prediction_line(found) == expected


@pytest.mark.parametrize(
    ("outcome", "retry_after_s", "kind", "expected"),
    [
        ("invalid", None, Misconfigured, "the request is invalid: x is missing"),
        ("refused", 2.0, HeadraceError, "the request was not answered (refused): x is missing; ask again in 2 s"),
        ("expired", None, HeadraceError, "the request was not answered (expired): x is missing; ask again"),
    ],
)
def test_what_is_no_answer_is_an_error_with_its_reason(
    outcome: str, retry_after_s: float | None, kind: type[HeadraceError], expected: str
) -> None:
    found = Prediction(
        deployment="d", request_id="r", outcome=outcome, reason="x is missing", retry_after_s=retry_after_s
    )
    assert (type(unanswered(found)), str(unanswered(found))) == (kind, expected)


def test_a_decision_is_explained_with_the_names_of_its_classes() -> None:
    answer = FellBack("prior", "no version yet", Score(0, "", None, (0.25, 0.75)))
    found = described(answer, OutputKind("classes", ("cat", "dog")))
    assert (found["label"], found["probabilities"], found["reason"]) == (
        "dog",
        {"cat": 0.25, "dog": 0.75},
        "no version yet",
    )
    number = described(Served(Score(2, "m", 0.75)), OutputKind("number"))
    assert (number["label"], number["value"]) == (None, 0.75)
    assert described(Served(Score(2, "m", 0.75)), OutputKind("binary", ("no", "yes")))["label"] == "yes"
