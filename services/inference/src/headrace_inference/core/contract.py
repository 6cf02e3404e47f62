"""Which requests of a batch certainly keep their deployment's contract: all of them checked at once, as arrays.

What cannot be vouched for here is not refused: `check_inputs` looks at it alone, and says what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Scalar
from headrace.features.precision import seen
from headrace_inference.core.admission import MAX_TEXT_CHARS

_PLAIN = {float, int}
# Fewer than so many are looked at one by one in less time than arrays of them take.
_WORTH_IT = 4
Inputs = Mapping[str, Scalar]


class Contract:
    """The inputs of one deployment as it is defined now."""

    def __init__(self, deployment: DeploymentDefinition) -> None:
        numbers = [field for field in deployment.inputs if field.kind == "number"]
        texts = [field.name for field in deployment.inputs if field.kind != "number"]
        self._names = {field.name for field in deployment.inputs}
        self._numbers = values_of([field.name for field in numbers])
        self._texts = values_of(texts)
        # NB: rows are float32: what is finite only in float64 would reach the model as an infinity.
        self._lowest = np.array([-np.inf if field.low is None else seen(field.low) for field in numbers])
        self._highest = np.array([np.inf if field.high is None else seen(field.high) for field in numbers])

    def vouches(self, asked: Sequence[Inputs]) -> list[bool]:
        """Per request whether it keeps the contract beyond doubt; one with a null, say, is left to a closer look."""
        if len(asked) < _WORTH_IT:
            return [False] * len(asked)
        kept = [self._is_plain(inputs) for inputs in asked]
        if not any(kept):
            return kept
        try:
            values = _seen([self._numbers(i) for i, fine in zip(asked, kept, strict=True) if fine])
        except OverflowError:  # an integer that no float64 can hold
            return [False] * len(kept)
        within = np.all(np.isfinite(values) & (values >= self._lowest) & (values <= self._highest), axis=1)
        told = iter(within.tolist())
        return [fine and next(told) for fine in kept]

    def _is_plain(self, inputs: Inputs) -> bool:
        """Exactly the declared names, numbers that are numbers, and texts that are texts of a decent length."""
        if inputs.keys() != self._names or not _PLAIN.issuperset(map(type, self._numbers(inputs))):
            return False
        return all(type(text) is str and len(text) <= MAX_TEXT_CHARS for text in self._texts(inputs))


def _seen(values: Sequence[tuple[float, ...]]) -> np.ndarray:
    """As the model sees them; by way of float64, as everywhere."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def values_of(names: Sequence[str]) -> Callable[[Inputs], tuple[Any, ...]]:
    """A function from inputs to the values of `names`, in order; it raises KeyError where one is not there."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda inputs: tuple(inputs[name] for name in names)
