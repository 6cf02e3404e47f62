"""Versions that must not stay in traffic: one whose training saw the future, and one that raises on unknown values.

Both are real models that pass every check of the loader and the warm-up: only live evidence shows their faults.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from headrace.events.inference import Scalar
from headrace.events.registry import Signature
from headrace.features.dataset import Floats, Gathered, Rows
from headrace.log.reading import pin_offsets, read_up_to
from headrace.project.load import load_function
from headrace_cli.session import Session

LOOK_AHEAD_S = 6 * 3600.0
HISTORY_S = 180 * 86_400.0


@dataclass(frozen=True)
class BadVersion:
    """A model and its description. `alike_share`: the share of its training rows that equal the rows of serving."""

    model: Any
    signature: Signature
    rows: int
    alike_share: float


class _LookingAhead(Gathered):
    """The planted fault: features as of six hours after the request."""

    def _features(self, inputs: Iterable[Mapping[str, Scalar]], at_s: Floats) -> Floats:
        return super()._features(inputs, at_s + LOOK_AHEAD_S)


async def gather(session: Session, deployment: str, clock_s: float) -> "Gathered":
    """Requests, labels and events of the last half year, as the trainer reads them."""
    found = session.projects.deployment(deployment)
    assert found is not None
    gathered = _LookingAhead(*found, session.topics, clock_s - HISTORY_S, clock_s, clock_s)
    ends = await pin_offsets(session.log, gathered.topic_names())
    await read_up_to(session.log, ends, lambda record: gathered.read(session.codec, record))
    return gathered


def look_ahead(gathered: Gathered) -> BadVersion:
    """A version whose features are as of six hours after each request."""
    rows = gathered.rows({}).labelled()
    honest = Gathered._features(gathered, rows.inputs, rows.at_s)
    alike = ((rows.features == honest) | (np.isnan(rows.features) & np.isnan(honest))).all(axis=1)
    signature, model = _fitted(gathered, rows)
    return BadVersion(model, signature, len(rows), float(alike.mean()))


def raising(gathered: Gathered) -> BadVersion:
    """A version whose encoder was fitted on half of the flights, and refuses distances that it has not seen."""
    rows = gathered.rows({}).labelled()
    signature, trees = _fitted(gathered, rows)
    matrix = rows.matrix(gathered.deployment, signature)
    place = [column.name for column in signature.columns].index("distance_miles")
    encoder = ColumnTransformer(
        [("distance", OrdinalEncoder(handle_unknown="error"), [place])], remainder="passthrough"
    )
    # It knows zero, so that the warm-up passes.
    known = np.unique(matrix[:, place])[::2]
    seen = np.vstack([matrix[np.isin(matrix[:, place], known)], np.zeros((1, matrix.shape[1]), np.float32)])
    labels = np.append(rows.labels[np.isin(matrix[:, place], known)], 0.0)
    model = make_pipeline(encoder, _plain(trees)).fit(seen, labels)
    return BadVersion(model, signature, len(seen), 1.0)


def _fitted(gathered: Gathered, rows: Rows) -> tuple[Signature, Any]:
    assert gathered.deployment.training is not None
    signature = rows.signature(gathered.project, gathered.deployment)
    model = load_function(gathered.deployment.training.build)(signature)
    return signature, model.fit(rows.matrix(gathered.deployment, signature), rows.labels)


def _plain(trees: Any) -> Any:
    """The same kind of trees, unfitted, for columns in another order."""
    return type(trees)(**{**trees.get_params(), "categorical_features": None})
