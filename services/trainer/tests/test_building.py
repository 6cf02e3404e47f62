"""The declared seed reaches the user's estimator."""

from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.events.registry import Signature
from headrace_trainer.building import built

SIGNATURE = Signature((), "d")


def test_a_build_that_takes_the_seed_gets_it() -> None:
    found = built(lambda signature, seed: RandomForestClassifier(random_state=seed + 1), SIGNATURE, 41)
    assert found.random_state == 42


def test_what_was_left_to_chance_gets_the_seed_and_what_was_chosen_stays() -> None:
    def open_(signature: Any) -> Any:
        return make_pipeline(StandardScaler(), RandomForestClassifier())

    def chosen(signature: Any, *, trees: int = 3) -> Any:
        return RandomForestClassifier(trees, random_state=7)

    assert built(open_, SIGNATURE, 5)[-1].random_state == 5
    assert built(chosen, SIGNATURE, 5).random_state == 7
