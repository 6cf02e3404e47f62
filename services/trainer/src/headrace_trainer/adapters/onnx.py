"""A fitted model converted for ONNX Runtime, and whether it still has the same scores.

skl2onnx converts it (trees with categories: `hist_trees`); rows that it was fitted on are replayed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.events.registry import GateResult, GoldenRow
from headrace.events.verdicts import PASS, UNMEASURED
from headrace.models.answering import last_of
from headrace.models.engine import load
from headrace.models.proving import Answering
from headrace.project.labels import NUMBER
from headrace_trainer.adapters.golden_rows import why_different
from headrace_trainer.adapters.hist_trees import has_categories, rewrite
from headrace_trainer.core.gates import ONNX_GATE, judge_onnx
from headrace_trainer.core.target import Target

# So many of the newest rows are replayed: they resemble future requests most.
REPLAYED = 5000


def convert(
    model: Any,
    target: Target,
    digest: str,
    matrix: np.ndarray,
    answers: Answering | None = None,
    golden: Sequence[GoldenRow] = (),
) -> tuple[bytes | None, GateResult]:
    """The ONNX file of a fitted model, None when it must not be served, and the result of the gate on their parity.

    `matrix`: float32 (n, columns), in time order. `golden`: rows by which an instance would refuse the file, as its version `answers`.
    """
    replayed = matrix[-REPLAYED:]
    try:
        data = _converted(model, target, matrix.shape[1])
        engine = load(data, "onnx")
        onnx = target.ask(engine, replayed, target.places(model))
        different = why_different(engine, answers, golden, "onnx") if answers is not None else None
    except Exception as error:
        # NB: the converter raises anything for what it does not know; skops serves then.
        reason = error.reason if isinstance(error, Poison) else f"{type(error).__name__}: {error}"
        detail = f"cannot be converted, skops serves: {reason[:200]}"
        return None, GateResult(ONNX_GATE, UNMEASURED, None, None, digest, detail)
    result = judge_onnx(digest, target, target.scores(model, replayed), onnx, different)
    return (data if result.verdict == PASS else None), result


def _converted(model: Any, target: Target, columns: int) -> bytes:
    from skl2onnx import to_onnx  # late: it takes a second to import

    options = None if target.kind == NUMBER else {"zipmap": False}
    made = to_onnx(model, np.zeros((1, columns), np.float32), options=options)
    if has_categories(answering := last_of(model)):
        rewrite(answering, made.graph)
    return made.SerializeToString()
