"""The declared seed reaches the user's estimator."""

from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.events.registry import Signature
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.core.target import Target, Unfit

SIGNATURE = Signature((), "d")


def test_a_build_that_takes_the_seed_gets_it() -> None:
    found = build_estimator(
        lambda signature, seed: RandomForestClassifier(random_state=seed + 1), SIGNATURE, 41, Target("binary")
    )
    assert found.random_state == 42


def test_what_was_left_to_chance_gets_the_seed_and_what_was_chosen_stays() -> None:
    def open_(signature: Any) -> Any:
        return make_pipeline(StandardScaler(), RandomForestClassifier())

    def chosen(signature: Any, *, trees: int = 3) -> Any:
        return RandomForestClassifier(trees, random_state=7)

    assert build_estimator(open_, SIGNATURE, 5, Target("binary"))[-1].random_state == 5
    assert build_estimator(chosen, SIGNATURE, 5, Target("binary")).random_state == 7


def test_what_build_raises_is_told_with_the_users_file_and_line() -> None:
    def broken(signature: Any) -> Any:
        return signature.colums

    with pytest.raises(Unfit) as raised:
        build_estimator(broken, SIGNATURE, 1, Target("binary"))
    line = broken.__code__.co_firstlineno + 1
    assert str(raised.value) == (
        f"build() failed: AttributeError: 'Signature' object has no attribute 'colums' ({__file__}:{line})"
    )


def test_what_build_returns_is_told_with_the_line_of_build() -> None:
    def a_dict(signature: Any) -> Any:
        return {}

    with pytest.raises(Unfit) as raised:
        build_estimator(a_dict, SIGNATURE, 1, Target("binary"))
    assert str(raised.value).endswith(f"that is not fitted yet ({__file__}:{a_dict.__code__.co_firstlineno})")
