"""NannyML: CBPE per chunk. Argument: a folder with NAME.npz per case (reference and analysis: scores, labels) and the chunk's size."""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from nannyml import CBPE  # noqa: E402

folder, size = Path(sys.argv[1]), int(sys.argv[2])
values = {}
for file in sorted(folder.glob("*.npz")):
    case = np.load(file)
    frames = {}
    for part in ("reference", "analysis"):
        scores = case[f"{part}_scores"]
        if scores.ndim == 1:
            columns = "score"
            frame = pd.DataFrame({"score": scores, "answer": (scores >= 0.5).astype(int)})
        else:
            names = [str(n) for n in range(scores.shape[1])]
            columns = {name: f"score_{name}" for name in names}
            frame = pd.DataFrame(scores, columns=list(columns.values()))
            frame["answer"] = scores.argmax(axis=1).astype(str)
        labels = case[f"{part}_labels"].astype(int)
        frame["label"] = labels if scores.ndim == 1 else labels.astype(str)
        frames[part] = frame
    kind = "classification_binary" if isinstance(columns, str) else "classification_multiclass"
    estimator = CBPE(
        metrics=["roc_auc", "accuracy"],
        y_pred_proba=columns,
        y_pred="answer",
        y_true="label",
        problem_type=kind,
        chunk_size=size,
    )
    estimator.fit(frames["reference"])
    found = estimator.estimate(frames["analysis"].drop(columns="label")).filter(period="analysis").to_df()
    values[file.stem] = {name: found[name]["value"].tolist() for name in ("roc_auc", "accuracy")}
print(json.dumps(values))
