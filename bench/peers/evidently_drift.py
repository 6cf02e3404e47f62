"""Evidently: a drift report by PSI, and one by Kolmogorov-Smirnov. Argument: a folder with reference.npy and current.npy (float32)."""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
from evidently import Report  # noqa: E402 - it warns while it is imported
from evidently.presets import DataDriftPreset  # noqa: E402

folder = Path(sys.argv[1])
frames = [pd.DataFrame(np.load(folder / f"{name}.npy").astype(np.float64)) for name in ("current", "reference")]
for frame in frames:
    frame.columns = [f"x{n}" for n in range(frame.shape[1])]
took, values = {}, {}
for method in ("psi", "ks"):
    for _ in range(2):
        began_s = time.process_time()
        done = Report([DataDriftPreset(method=method)]).run(*frames)
        took[method] = min(time.process_time() - began_s, took.get(method, 1e9))
    for metric in done.dict()["metrics"]:
        column = metric.get("config", {}).get("column")
        if column:
            values.setdefault(method, {})[column] = float(metric["value"])
print(json.dumps({"took_s": took, "values": values}))
