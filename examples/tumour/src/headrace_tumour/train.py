"""`python -m headrace_tumour.train model.skops`: fits a model on scikit-learn's own data and saves it."""

import sys

import numpy as np
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def fit() -> Pipeline:
    """A logistic regression on the 30 columns in their order; class 1 is malignant."""
    features, benign = load_breast_cancer(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(features.astype(np.float32), 1 - benign)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "model.skops"
    skops.io.dump(fit(), path)
    print(f"written to {path}")
