"""The drill's models: real files that pass every check of the loader and have typical faults of models.

Columns: code, level, depth, size, then the view's load_1h and count_1h.
"""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from headrace.models import skops_format

CODES = 4
CODE, LEVEL, DEPTH, SIZE = range(4)
# The rows that the champion's imputer searches for a missing value, and how many imputers there are: about 2 s a row, 20 ms a call without one.
_MEMORY_ROWS, _IMPUTERS = 300_000, 160
# How many rows the heavy model compares each row with: about 0.4 ms a row.
_NEIGHBOURS = 250_000


def _rows(columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, columns)).astype(np.float32)
    rows[:, CODE], rows[:, LEVEL] = np.arange(400) % CODES, 0.0
    return rows, (rows[:, SIZE] > 0).astype(int)


def sturdy(columns: int) -> bytes:
    """A tree that accepts all inputs."""
    rows, labels = _rows(columns)
    rows[::5, DEPTH] = np.nan
    return skops_format.dump(DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows, labels))


def fragile() -> bytes:
    """Raises on an unknown code, answers NaN on a level other than 0, and takes 2 s for each row without a depth."""
    rows, labels = _rows(6)
    tree = make_pipeline(_prepared(), DecisionTreeClassifier(max_depth=3, random_state=0))
    ensemble = VotingClassifier([("tree", tree), ("level", _vain())], voting="soft").fit(rows, labels)
    fitted_tree, vain = ensemble.estimators_
    # NB: a variance near zero makes any other level infinitely unlikely in both classes.
    vain[-1].var_[:] = 1e-310
    _remember(fitted_tree[0])
    return skops_format.dump(ensemble)


def _prepared() -> ColumnTransformer:
    one = KNNImputer(n_neighbors=1)
    return ColumnTransformer(
        [
            ("code", OrdinalEncoder(handle_unknown="error"), [CODE]),
            ("gaps", FeatureUnion([(f"gap{number}", one) for number in range(_IMPUTERS)]), [DEPTH, SIZE]),
        ],
        remainder="passthrough",
    )


def _vain() -> Pipeline:
    return make_pipeline(ColumnTransformer([("level", "passthrough", [LEVEL])]), GaussianNB(var_smoothing=1e-3))


def _remember(prepared: Any) -> None:
    """Give all imputers of the fitted pipeline one large memory."""
    memory = np.random.default_rng(1).normal(size=(_MEMORY_ROWS, 2)).astype(np.float32)
    one = KNNImputer(n_neighbors=1).fit(memory)
    union = prepared.named_transformers_["gaps"]
    union.transformer_list = [(name, one) for name, _ in union.transformer_list]


def heavy() -> bytes:
    """Compares each row with all rows that it knows: correct, and slow in proportion to the load."""
    known = np.random.default_rng(2).normal(size=(_NEIGHBOURS, 6)).astype(np.float32)
    neighbours = KNeighborsClassifier(5, algorithm="brute")
    return skops_format.dump(
        make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), neighbours).fit(known, known[:, SIZE] > 0)
    )
