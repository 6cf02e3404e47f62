"""An exhibit of the zoo: a fitted model of another library, its contract, and its own scores of requests."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from headrace.project import Category, Deployment, Number
from headrace.project.fields import Input

Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Exhibit:
    """A file and its maker's scores. `own`: from requests (a frame in the order of the inputs, None for null) to the scores of the maker's
    model, (n, classes) or (n,). `words`: those of each category, in code order. `frame`: the model needs names and words.
    """

    name: str
    inputs: Sequence[Input]
    data: bytes
    own: Callable[[pd.DataFrame], Any]
    format: str = "skops"
    words: Words = field(default_factory=dict)
    frame: bool = False
    model: Any = None

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.name, unit="thing", inputs=list(self.inputs))


def scoring(model: Any) -> Callable[[Any], Any]:
    """`predict_proba` where there is one."""
    return model.predict_proba if hasattr(model, "predict_proba") else model.predict


def by_matrix(name: str, model: Any, columns: "Table", **more: Any) -> Exhibit:
    """A model that was fitted on an array of numbers."""
    return Exhibit(
        name, columns.inputs, skops.io.dumps(model), lambda asked: scoring(model)(matrix_of(asked, columns.words)),
        words=columns.words, model=model, **more,
    )  # fmt: skip


def by_frame(name: str, model: Any, columns: "Table", words: Words | None = None) -> Exhibit:
    """A pipeline that was fitted on a frame with names and words."""
    return Exhibit(
        name, columns.inputs, skops.io.dumps(model), lambda asked: scoring(model)(as_fitted(asked)),
        words=columns.words if words is None else words, frame=True, model=model,
    )  # fmt: skip


def as_fitted(asked: pd.DataFrame) -> pd.DataFrame:
    """Nulls as pandas reads them from a file."""
    return pd.DataFrame({name: pd.Series([np.nan if v is None else v for v in asked[name]]) for name in asked})


def matrix_of(asked: pd.DataFrame, words: Words) -> np.ndarray:
    """Numbers and codes of words as float64, NaN where a value is missing or unknown."""
    columns = []
    for name in asked:
        if name in words:
            codes = {word: float(code) for code, word in enumerate(words[name])}
            columns.append([codes.get(value, np.nan) for value in asked[name]])
        else:
            columns.append([np.nan if value is None else float(value) for value in asked[name]])
    return np.array(columns, np.float64).T


@dataclass(frozen=True)
class Table:
    """Rows to fit on, their labels, and the contract that holds for them."""

    frame: pd.DataFrame
    labels: np.ndarray
    inputs: Sequence[Input]
    words: Words = field(default_factory=dict)

    @property
    def matrix(self) -> np.ndarray:
        return matrix_of(self.frame.astype(object).where(self.frame.notna(), None), self.words)

    def with_holes(self, share: float = 0.1) -> "Table":
        """The same table with some nulls."""
        holes = np.random.default_rng(3).random(self.frame.shape) < share
        inputs = [
            Category(f.name, nullable=True) if isinstance(f, Category) else Number(f.name, f.low, f.high, nullable=True)
            for f in self.inputs
        ]
        return Table(self.frame.mask(holes), self.labels, inputs, self.words)


_LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "digits": load_digits,
}


def bundled(which: str, columns: int = 64, *, named: bool = False) -> Table:
    """One of scikit-learn's own data sets, its first `columns`. `named`: labels by name."""
    found = _LOADERS[which]()
    names = [_plain(name) for name in found.feature_names][:columns]
    rows = np.asarray(found.data, np.float64)[:, :columns]
    inputs = [
        Number(name, float(np.floor(rows[:, n].min() * 10) / 10), float(np.ceil(rows[:, n].max() * 10) / 10))
        for n, name in enumerate(names)
    ]
    labels = np.asarray(found.target_names)[found.target] if named else found.target
    return Table(pd.DataFrame(rows, columns=names), labels, inputs)


def _plain(name: str) -> str:
    return name.replace(" (cm)", "").replace(" ", "_").replace("/", "_per_")


PORTS = ["Cherbourg", "Queenstown", "Southampton"]
CABINS = ["first", "second", "third", "crew"]


def voyage(rows: int = 800) -> Table:
    """Passengers with a seed: a number (gaps can be added), whole numbers, two columns of words."""
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(
        {
            "age": np.round(rng.uniform(0, 80, rows), 1),
            "month": rng.integers(1, 13, rows).astype(float),
            "port": np.array(PORTS)[rng.choice(3, rows, p=[0.2, 0.1, 0.7])],
            "cabin": np.array(CABINS)[rng.choice(4, rows)],
        }
    )
    pull = 0.03 * (40 - frame["age"]) + frame["cabin"].map({"first": 1.5, "second": 0.5, "third": -1, "crew": -0.5})
    pull += frame["port"].map({"Cherbourg": 0.8, "Queenstown": 0.0, "Southampton": -0.3}) + 0.1 * (frame["month"] - 6)
    labels = np.where(rng.random(rows) < 1 / (1 + np.exp(-pull)), "yes", "no")
    inputs = [Number("age", 0, 80), Number("month", 1, 12), Category("port"), Category("cabin")]
    return Table(frame, labels, inputs, {"port": PORTS, "cabin": CABINS})


def fare(table: Table) -> np.ndarray:
    """A number to predict for each passenger."""
    frame = table.frame
    price = frame["cabin"].map({"first": 80.0, "second": 30.0, "third": 10.0, "crew": 0.0}).fillna(20)
    return (price + 0.4 * frame["age"].fillna(30) + 2 * frame["month"].fillna(6)).to_numpy(np.float64)


def saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    """The bytes that a function writes to a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()
