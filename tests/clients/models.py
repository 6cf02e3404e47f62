"""Small models with known answers, and the files that are registered."""

import json
from pathlib import Path

import numpy as np
import skops.io
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CARRIERS = ["AA", "UA"]


def write_models(folder: Path) -> dict[str, list[str]]:
    """Write `<deployment>.skops` for each. Returns the further options of `headrace model register`."""
    features, species = load_iris(return_X_y=True)
    flower = make_pipeline(StandardScaler(), LogisticRegression()).fit(features.astype(np.float32), species)
    skops.io.dump(flower, folder / "flower.skops")
    drawn = np.random.default_rng(7).uniform(0, 1000, (400, 2))
    late = LogisticRegression().fit(np.column_stack([drawn[:, 0] / 1000, drawn[:, 1] > 500]), drawn[:, 1] > 500)
    skops.io.dump(late, folder / "late.skops")
    fare = HistGradientBoostingRegressor(max_iter=20, early_stopping=False).fit(drawn, drawn[:, 0] * 0.2 + 50)
    skops.io.dump(fare, folder / "fare.skops")
    (folder / "carriers.json").write_text(json.dumps({"carrier": CARRIERS}))
    return {"flower": [], "late": ["--categories", str(folder / "carriers.json")], "fare": []}
