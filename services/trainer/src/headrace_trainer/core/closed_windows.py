"""Up to which instant rows may be used: as far as their evaluation windows have closed, by the monitor's rule.

Labels that come early differ from those that come late (on-time flights report first), so a row is used only where nearly all rows
around it have their label too. A window has closed when `coverage` of its requests have a label, or the label's horizon has passed;
the windows after it wait for it. See docs/decisions/011.
"""

import math

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition

Floats = NDArray[np.float64]


def closed_until(deployment: DeploymentDefinition, at_s: Floats, labels: Floats, clock_s: float) -> float:
    """The end of the newest window that has closed by `clock_s`, and at least the clock less the label's horizon.

    `at_s`: instants of all requests, `labels`: as they are known by the clock, NaN where they are not; both shape (n,).
    """
    label, width_s = deployment.label, deployment.evaluation_window_s
    if label is None:
        raise ValueError(f"deployment {deployment.name} declares no label")
    to_s = clock_s - label.horizon_s
    start_s = math.floor(to_s / width_s) * width_s
    newer = (at_s >= start_s) & (at_s < clock_s)
    window = np.floor((at_s[newer] - start_s) / width_s).astype(np.int64)
    windows = max(math.floor((clock_s - start_s) / width_s), 0)
    asked = np.bincount(window, minlength=windows)[:windows]
    known = np.bincount(window, weights=~np.isnan(labels[newer]), minlength=windows)[:windows]
    is_open = known < deployment.coverage * asked - 1e-9
    closed = int(np.argmax(is_open)) if is_open.any() else windows
    # NB: a window without a request counts as closed: no label is awaited in it, and it must not hold back the windows after it.
    return max(to_s, start_s + closed * width_s)
