"""Three columns of rows, their labels of every kind, and files of models that were fitted on them."""

from typing import Any

import numpy as np
import skops.io

from headrace.project import Number

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(300, 3)).astype(np.float32)
FLAG = (ROWS[:, 0] + RNG.normal(size=300) > 0).astype(int)
GRADE = np.digitize(ROWS[:, 0], [-0.5, 0.5])
AMOUNT = ROWS[:, 1].astype(float)
INPUTS = [Number("a"), Number("b"), Number("c")]
ASKED = [dict(zip("abc", row.tolist(), strict=True)) for row in ROWS[:40]]


def skops_of(model: Any, labels: Any) -> bytes:
    return skops.io.dumps(model.fit(ROWS, labels))
