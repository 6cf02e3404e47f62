"""The model that everybody serves: a hundred boosted trees on thirty numbers. No Headrace in here: peers train it too.

As a command it writes the model with joblib, which is what the peers load. Argument: the file.
"""

import sys

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

COLUMN_COUNT = 30
DISTINCT = 512


def trained() -> HistGradientBoostingClassifier:
    """The same trees everywhere: fixed data, fixed seed."""
    rows = np.random.default_rng(0).normal(size=(5000, COLUMN_COUNT))
    noise = np.random.default_rng(1).normal(size=len(rows))
    model = HistGradientBoostingClassifier(max_iter=100, random_state=0, early_stopping=False)
    return model.fit(rows.astype(np.float32), rows[:, 0] + rows[:, 1] * rows[:, 2] + noise > 0)


def asked_rows() -> np.ndarray:
    """What is asked of it, float32 (DISTINCT, COLUMN_COUNT)."""
    return np.random.default_rng(7).normal(size=(DISTINCT, COLUMN_COUNT)).astype(np.float32)


if __name__ == "__main__":
    import joblib

    joblib.dump(trained(), sys.argv[1])
