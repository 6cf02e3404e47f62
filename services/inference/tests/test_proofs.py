"""A version serves only where it gives the scores that it gave where it was made: for rows, of every kind, and for the requests behind them."""

from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from headrace.events.inference import VersionUnloadable, VersionWarmed
from headrace.events.registry import GoldenRow
from headrace.features.rows import pin_signature
from headrace.models.proving import Answering, prove_file
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_inference.adapters.load_checks import LoadChecks
from headrace_inference.core.proof import asked_of

Bench = Any
ROWS = np.random.default_rng(0).uniform(0, 10, (300, 1))
MODELS = {
    "binary": LogisticRegression().fit(ROWS, ROWS[:, 0] > 5),
    "classes": LogisticRegression(max_iter=500).fit(ROWS, np.digitize(ROWS[:, 0], [3, 6])),
    "number": LinearRegression().fit(ROWS, 2 * ROWS[:, 0]),
}


def _nudged(found: GoldenRow) -> GoldenRow:
    """As another machine might have scored it, or another library."""
    probabilities = tuple(np.add(found.probabilities, (1e-5, -1e-5, 0)).tolist()) if found.probabilities else ()
    return msgspec.structs.replace(
        found, value=found.value + 1e-4 * max(1.0, abs(found.value)), probabilities=probabilities
    )


@pytest.mark.parametrize("kind", list(MODELS))
async def test_a_proof_of_each_kind_is_scored_again_before_a_version_is_warm(bench: Bench, kind: str) -> None:
    await _shows_that_a_proof_decides(bench, kind)


@pytest.mark.slow
async def test_a_proof_is_scored_again_in_the_child_that_tries_a_version(bench: Bench) -> None:
    bench.load_check = LoadChecks()
    await _shows_that_a_proof_decides(bench, "classes")
    assert bench.load_check.pid is None


async def _shows_that_a_proof_decides(bench: Bench, kind: str) -> None:
    project = compile_project(Project("kinds", [Deployment("thing", unit="u", inputs=[Number("x", 0, 10)])]))
    await bench.apply(project)
    golden = _golden(MODELS[kind], project, kind)
    changed = (*golden[:40], _nudged(golden[40]), *golden[41:])
    for version, proof in ((1, golden), (2, changed), (3, ())):
        await bench.register("thing", version, MODELS[kind], project=project, output=kind, golden=proof)
    await bench.route("thing", {1: 1.0}, warm=(2, 3))
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: len(found) >= 3)
    warmed = {fact.event.version for fact in facts if isinstance(fact.event, VersionWarmed)}
    refused = {f.event.version: f.event.reason for f in facts if isinstance(f.event, VersionUnloadable)}
    assert (warmed, list(refused)) == ({1, 3}, [2])  # one from before there were proofs is served still
    assert "golden row 40 scores" in refused[2]


async def test_a_version_whose_requests_make_other_rows_here_is_not_served(bench: Bench) -> None:
    project = compile_project(Project("kinds", [Deployment("thing", unit="u", inputs=[Number("x", 0, 10)])]))
    await bench.apply(project)
    golden = _golden(MODELS["binary"], project, "binary")
    other = msgspec.structs.replace(golden[3], inputs={"x": 9.5})
    await bench.register("thing", 1, MODELS["binary"], project=project, golden=(*golden[:3], other))
    await bench.route("thing", {1: 1.0})
    async with bench.running():
        (fact,) = await bench.read("inference.facts")
    assert isinstance(fact.event, VersionUnloadable)
    assert "golden row 3 holds" in fact.event.reason
    assert "for x, here its request makes 9.5" in fact.event.reason


async def test_an_encoder_that_knows_whole_months_only_is_warm_and_answers(bench: Bench) -> None:
    months = np.random.default_rng(0).integers(1, 13, 300).reshape(-1, 1)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(months, months[:, 0] > 6)
    project = compile_project(Project("kinds", [Deployment("thing", unit="u", inputs=[Number("month", 1, 12)])]))
    await bench.apply(project)
    await bench.register("thing", 1, model, project=project)
    await bench.route("thing", {1: 1.0})
    async with bench.running():
        await bench.ask("thing", {"month": 11})
        (decision,) = await bench.decisions()
    assert decision.answer.score.value == pytest.approx(model.predict_proba([[11]])[0, 1], abs=1e-6)


def test_a_version_that_does_not_fit_its_deployment_any_more_is_asked_no_drawn_rows() -> None:
    project, other = (
        compile_project(Project("p", [Deployment("thing", unit="u", inputs=[kind("x")])]))
        for kind in (Number, Category)
    )
    signature = pin_signature(project, project.deployment("thing"), {})
    registered = version_of(1, deployment="thing", signature=signature)
    assert len(asked_of((project, project.deployment("thing")), registered).rows) == 32
    assert asked_of((other, other.deployment("thing")), registered).rows.shape == (0, 1)
    assert asked_of(None, registered).rows.shape == (0, 1)


def _golden(model: Any, project: Any, kind: str) -> tuple[GoldenRow, ...]:
    deployment = project.deployment("thing")
    return prove_file(
        skops.io.dumps(model), "skops", deployment, Answering(pin_signature(project, deployment, {}), kind)
    )
