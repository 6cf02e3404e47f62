"""The user's estimator: `build(signature)` or `build(signature, seed)`. The declared seed is set wherever `build` left chance open."""

import inspect
import traceback
from collections.abc import Callable
from typing import Any

from headrace.events.registry import Signature
from headrace.project.labels import NUMBER
from headrace_trainer.adapters.user_code import sentence_of
from headrace_trainer.core.target import Target, Unfit


def build_estimator(build: Callable[..., Any], signature: Signature, seed: int, target: Target) -> Any:
    """An estimator that is not fitted. Raises `Unfit` with the user's error where `build` fails or returns something else."""
    try:
        found = build(signature, seed) if takes_seed(build) else build(signature)
    except BaseException as error:
        traceback.print_exc()
        raise Unfit(f"build() failed: {sentence_of(error, build.__module__)}") from error
    lacking = [name for name in target.needs if not callable(getattr(found, name, None))]
    if lacking:
        what = "a regressor" if target.kind == NUMBER else "a classifier"
        raise Unfit(
            f"build() returned a {type(found).__name__} without {' and '.join(lacking)}: it must return {what} that"
            f" is not fitted yet ({written_at(build)})"
        )
    return seeded(found, seed)


def written_at(function: Callable[..., Any]) -> str:
    """`file:line` of a function, or its name where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{function!r:.80}" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def takes_seed(build: Callable[..., Any]) -> bool:
    """Whether a function can be given a seed after the signature.

    >>> takes_seed(lambda signature: 1), takes_seed(lambda signature, seed: 1), takes_seed(lambda signature, *, trees=9: 1)
    (False, True, False)
    """
    parameters = list(inspect.signature(build).parameters.values())
    positional = [found for found in parameters if found.kind in (found.POSITIONAL_ONLY, found.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (positional[1].name == "seed" or positional[1].default is inspect.Parameter.empty)


def seeded(estimator: Any, seed: int) -> Any:
    """The same estimator, with `random_state` set wherever it was left None, in the steps of a pipeline too."""
    if not (callable(getattr(estimator, "get_params", None)) and callable(getattr(estimator, "set_params", None))):
        return estimator
    open_ = {
        name: seed
        for name, value in estimator.get_params(deep=True).items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return estimator.set_params(**open_) if open_ else estimator
