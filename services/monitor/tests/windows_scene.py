"""Evaluation windows of one deployment, and the rows of their figures."""

from typing import Any

import numpy as np
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision

from headrace_monitor.core.windows import Rows, Windows

BINARY = DEPLOYMENT.label


def windows(**changes: Any) -> Windows:
    label = replace(BINARY, **{name: changes.pop(name) for name in ("absent", "horizon_s") if name in changes})
    limit = changes.pop("limit_bytes", 10**9)
    return Windows(replace(DEPLOYMENT, label=None if changes.pop("bare", False) else label, **changes), limit)


# figures


def rows(scores: list[float], labels: list[float], version: int = 1) -> Rows:
    found = windows()
    for n, score in enumerate(scores):
        found.add_decision(decision(f"u{n}", float(n), score, version), 0, n)
    return Rows(found.rows_of(0.0, DAY).table, np.array(labels), found.rows_of(0.0, DAY).shadows)
