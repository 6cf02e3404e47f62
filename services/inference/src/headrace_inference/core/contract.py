"""Which requests of a batch certainly keep the contract of their deployment: all of them are checked at once, as arrays.

A request that cannot be vouched for here is not refused: `check_inputs` looks at it alone, and names what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Scalar
from headrace.features.precision import seen
from headrace_inference.core.request import MAX_TEXT_CHARS

_PLAIN = {float, int}
# Fewer requests than this are checked one by one in less time than arrays of them take.
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
        """Per request whether it keeps the contract beyond doubt. One with a null, for example, is left to a closer look."""
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
        verdicts = iter(within.tolist())
        return [fine and next(verdicts) for fine in kept]

    def _is_plain(self, inputs: Inputs) -> bool:
        """Whether the names are exactly the declared ones, the numbers are numbers, and the texts are texts that are not too long."""
        if inputs.keys() != self._names or not _PLAIN.issuperset(map(type, self._numbers(inputs))):
            return False
        return all(type(text) is str and len(text) <= MAX_TEXT_CHARS for text in self._texts(inputs))


def _seen(values: Sequence[tuple[float, ...]]) -> np.ndarray:
    """The values as the model sees them, in float32. They go through float64, as everywhere else."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def values_of(names: Sequence[str]) -> Callable[[Inputs], tuple[Any, ...]]:
    """A function from inputs to the values of `names`, in order; it raises KeyError where one is not there."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda inputs: tuple(inputs[name] for name in names)
