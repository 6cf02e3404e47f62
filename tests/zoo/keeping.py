"""Registering an exhibit as the command does, and asking it as an instance would."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from tests.zoo.exhibits import Exhibit

from headrace.events.registry import GoldenRow
from headrace.features.precision import seen
from headrace.features.samples import Inputs, Sample, sample
from headrace.models.engine import load
from headrace.models.matching import matched
from headrace.models.proving import Answering, served, within
from headrace.project import Project
from headrace.project.compile import compile_project
from headrace_cli.models.agreement import Agreed, Declared
from headrace_cli.models.proofs import answering, proven


@dataclass(frozen=True)
class Kept:
    """A version that was not refused. `asked`: 200 requests that its contract allows; `own`: the scores of its maker's model, NaN where that raises."""

    exhibit: Exhibit
    agreed: Agreed
    golden: tuple[GoldenRow, ...]
    asked: Sample
    own: np.ndarray

    @property
    def within(self) -> float:
        return within(self.exhibit.format)

    @property
    def answering(self) -> Answering:
        return answering(self.agreed)


def registered(exhibit: Exhibit) -> Kept:
    """Register a file. Raises `Misconfigured` or `Poison` as the command does."""
    project = compile_project(Project("zoo", [exhibit.deployment]))
    deployment = project.deployment(exhibit.name)
    words = {name: tuple(known) for name, known in exhibit.words.items()}
    declared = Declared(words=words or None, frame=exhibit.frame)
    model = load(exhibit.data, exhibit.format)
    agreed, golden = proven(exhibit.data, exhibit.format, model, project, deployment, declared)
    # NB: the seed differs from that of registration.
    asked = sample(deployment, agreed.signature, seed=1)
    if not (agreed.signature.frame or exhibit.format == "lightgbm"):
        # A matrix is scored with float32 values, which may move a score by more than the tolerance: see `headrace.models.proving`.
        asked = replace(asked, inputs=[_as_rows_hold(inputs) for inputs in asked.inputs])
    return Kept(exhibit, agreed, golden, asked, own_of(exhibit, asked, answering(agreed)))


def _as_rows_hold(inputs: Inputs) -> Inputs:
    return {name: seen(value) if isinstance(value, float) else value for name, value in inputs.items()}


def own_of(exhibit: Exhibit, asked: Sample, answering: Answering) -> np.ndarray:
    """The scores of the maker's own model on its own rows, without our code: (n, values), NaN where it raises."""
    frame = pd.DataFrame(asked.inputs, columns=[found.name for found in exhibit.inputs], dtype=object)
    frame = frame.where(frame.notna(), None)
    try:
        return answering.read(exhibit.own(frame))
    except Exception:
        # NB: a maker's library may raise anything. Row by row shows for which request.
        rows = [_own_of_one(exhibit, frame.iloc[[row]].reset_index(drop=True), answering) for row in range(len(frame))]
    width = max(len(found) for found in rows)
    return np.array([found if len(found) == width else np.full(width, np.nan) for found in rows])


def _own_of_one(exhibit: Exhibit, frame: pd.DataFrame, answering: Answering) -> np.ndarray:
    try:
        return answering.read(exhibit.own(frame))[0]
    except Exception:
        # NB: as above.
        return np.empty(0)


def served_by(kept: Kept) -> np.ndarray:
    """The scores of an instance for the same requests, NaN where the maker has none."""
    engine = matched(load(kept.exhibit.data, kept.exhibit.format), kept.agreed.signature)
    known = np.isfinite(kept.own).all(axis=1)
    found = np.full(kept.own.shape, np.nan)
    found[known] = served(engine, kept.answering, kept.asked.rows[known])
    return found
