"""The three dialects of prediction requests: how each reads a body, and how it writes an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.asking.prediction import Prediction
from headrace_edge.rules.replies import Reply
from headrace_gateway.core.answers import named_reply, v1_reply, v2_reply
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.requests import read_named, read_v1, read_v2


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one path reads a body and writes an answer."""

    read: Callable[[bytes, Call], Asked | Unclear]
    write: Callable[[Asked, Sequence[Prediction]], Reply]


V2 = Dialect(read_v2, v2_reply)
V1 = Dialect(read_v1, lambda _, predictions: v1_reply(predictions))
NAMED = Dialect(read_named, named_reply)
