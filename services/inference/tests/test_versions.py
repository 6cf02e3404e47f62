"""Versions: every kind of model is served, and what must not be loaded, or finds no room, is published and harms nothing."""

import pickle
import re
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from headrace.events.inference import (
    FallbackChanged,
    FellBack,
    Served,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.registry import GoldenRow
from headrace.models import artifacts
from headrace_inference.adapters import models

Bench = Any  # the fixture of conftest.py

FLIGHT = {"miles": 500.0, "carrier": "AA"}


async def test_the_score_is_the_models_on_the_logged_row(bench: Bench) -> None:
    await bench.register("plain", 1, model=(model := split()), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    again = model.predict_proba(np.frombuffer(decision.row, "<f4").reshape(1, -1))[0, 1]
    assert decision.answer.score.value == again


def split() -> Any:
    rows = np.linspace(-1, 1, 50, dtype=np.float32).reshape(-1, 1)
    return DecisionTreeClassifier(max_depth=2).fit(rows, rows[:, 0] > 0.1)


async def test_a_new_version_is_warmed_beside_the_traffic_and_published(bench: Bench) -> None:
    async with bench.running():
        await bench.register("delay", 1)
        await bench.route("delay", {}, warm=(1,))
        await bench.until(lambda: bench.health.warmed == {"delay/1"})
        await bench.ask("delay", FLIGHT, id="r1")
        await bench.decisions()
        facts = await bench.read("inference.facts", lambda found: len(found) >= 2)
        await bench.route("delay", {1: 1.0}, champion=1)
    events = [fact.event for fact in facts]
    assert any(isinstance(event, VersionWarmed) and event.version == 1 for event in events)
    assert any(isinstance(event, FallbackChanged) and event.step == "prior" for event in events)


async def test_a_version_that_is_no_longer_wanted_is_unloaded(bench: Bench) -> None:
    await bench.register("delay", 1)
    await bench.route("delay", {1: 1.0})
    async with bench.running():
        assert bench.health.warmed == {"delay/1"}
        await bench.route("delay", {})
        await bench.until(lambda: not bench.health.warmed)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": b"not a model"}, "zip"),
        ({"data": b"\x80\x04\x95pickle"}, "zip"),
        ({"output": "poem"}, "output"),
        ({"output": "classes", "model": object}, "predict"),
    ],
)
async def test_a_version_that_cannot_be_loaded_is_published_and_the_fallback_answers(
    bench: Bench, changes: dict[str, Any], reason: str
) -> None:
    if changes.get("model") is object:
        changes = {"model": wide_model()}
    await bench.register("delay", 1, **changes)
    await bench.route("delay", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("delay", FLIGHT)
        (decision,) = await bench.decisions()
        facts = await bench.read("inference.facts")
    unloadable = [fact.event for fact in facts if isinstance(fact.event, VersionUnloadable)]
    assert reason in unloadable[0].reason
    assert isinstance(decision.answer, FellBack)
    assert decision.answer.step == "prior"
    assert reason in decision.answer.reason


async def test_a_version_that_scores_its_golden_rows_otherwise_than_where_it_was_made_is_not_served(
    bench: Bench,
) -> None:
    model = bench.trained(1, 1)
    row = np.array([0.25], np.float32)
    value = float(model.predict_proba([row])[0, 1])
    await bench.register("plain", 1, model, golden=(GoldenRow(row.tobytes(), value),))
    await bench.register("plain", 2, model, golden=(GoldenRow(row.tobytes(), value + 1e-5),))
    await bench.register("plain", 3, model, golden=(GoldenRow(b"1234" * 2, value),))
    await bench.route("plain", {1: 1.0}, warm=(2, 3))
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: len(found) >= 3)
    warmed = [fact.event.version for fact in facts if isinstance(fact.event, VersionWarmed)]
    refused = {f.event.version: f.event.reason for f in facts if isinstance(f.event, VersionUnloadable)}
    assert (warmed, sorted(refused)) == ([1], [2, 3])
    assert "golden row 0 scores" in refused[2]
    assert "golden rows have 2 values" in refused[3]


def wide_model() -> Any:
    """Wants more columns than the deployment has: its first predict raises."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(50, 9))
    return LogisticRegression().fit(rows, rows[:, 0] > 0)


def test_an_artifact_with_a_type_that_nobody_reviewed_is_refused() -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    data = skops.io.dumps(FunctionTransformer(func=threading.Thread))
    with pytest.raises(models.Unloadable, match="allow-list"):
        models.load(data)


@pytest.mark.parametrize("output", ["number", "classes"])
async def test_regressors_and_classifiers_of_many_classes_are_served(bench: Bench, output: str) -> None:
    rows = np.linspace(-1, 1, 60, dtype=np.float32).reshape(-1, 1)
    kinds = {"number": DecisionTreeRegressor(), "classes": DecisionTreeClassifier(max_depth=1)}
    labels = rows[:, 0] * 3 if output == "number" else np.digitize(rows[:, 0], [-0.3, 0.3])
    model = kinds[output].fit(rows, labels)
    await bench.register("plain", 1, model=model, vocabularies={}, output=output)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": float(rows[7, 0])})
        (decision,) = await bench.decisions()
    score = decision.answer.score
    scored = score.value if output == "number" else score.probabilities
    wanted = float(labels[7]) if output == "number" else tuple(model.predict_proba(rows[7:8])[0])
    assert scored == pytest.approx(wanted)


def as_onnx(model: Any, columns: int) -> bytes:
    from skl2onnx import to_onnx

    return to_onnx(model, np.zeros((1, columns), np.float32), options={"zipmap": False}).SerializeToString()


async def test_a_version_is_served_by_onnx_where_it_has_such_an_artifact(bench: Bench) -> None:
    model = split()
    onnx = await artifacts.publish(bench.log, bench.topics, as_onnx(model, 1), "onnx", 0.0, "test")
    await bench.register("plain", 1, model=signed_one(-1), vocabularies={}, onnx=onnx)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    assert decision.answer.score.value == pytest.approx(model.predict_proba([[0.7]])[0, 1], abs=1e-6)


def signed_one(sign: int) -> Any:
    """A model of one column that is sure of the opposite when `sign` is negative."""
    rows = np.linspace(-1, 1, 50, dtype=np.float32).reshape(-1, 1)
    return DecisionTreeClassifier(max_depth=1).fit(rows, sign * rows[:, 0] > 0)


async def test_an_onnx_artifact_that_cannot_be_loaded_leaves_the_version_to_its_own(bench: Bench) -> None:
    broken = await artifacts.publish(bench.log, bench.topics, b"not a model", "onnx", 0.0, "test")
    await bench.register("plain", 1, model=signed_one(1), vocabularies={}, onnx=broken)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    assert decision.answer.score.value == 1.0


async def test_a_pipeline_that_needs_names_and_words_gets_a_frame_and_logs_the_matrix(bench: Bench) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    words = OneHotEncoder(handle_unknown="ignore")
    chosen = ColumnTransformer([("words", words, ["carrier"])], remainder="drop")
    frame = pd.DataFrame({"miles": [1.0, 2.0] * 10, "carrier": ["AA", "UA"] * 10})
    pipeline = make_pipeline(chosen, DecisionTreeClassifier()).fit(frame, [0, 1] * 10)
    await bench.register("safe", 1, model=pipeline, pins={"inputs_only": True, "frame": True})
    await bench.route("safe", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("safe", {"miles": 5.0, "carrier": "UA"}, id="r0")
        await bench.ask("safe", {"miles": 5.0, "carrier": "AA"}, id="r1")
        found = {decision.request_id: decision for decision in await bench.decisions(2)}
    assert [found[f"r{n}"].answer.score.value for n in range(2)] == [1.0, 0.0]
    assert bench.row(found["r0"]) == [5.0, 1.0]


async def test_versions_beyond_the_memory_limit_wait_until_there_is_room(bench: Bench) -> None:
    for number in (1, 2):
        await bench.register("plain", number, vocabularies={})
    bench.model_memory_bytes = 25_000  # one of them takes about 18,000
    await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: len(found) >= 2)
        waits = [fact.event for fact in facts if isinstance(fact.event, VersionLoadFailed)]
        assert [(event.version, event.cause, event.attempt) for event in waits] == [(2, "memory", 1)]
        assert "HEADRACE_MODEL_MEMORY_BYTES" in waits[0].reason
        await bench.route("plain", {2: 1.0}, champion=2)
        await bench.until(lambda: bench.health.warmed == {"plain/2"})


def untrusted() -> bytes:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    return skops.io.dumps(FunctionTransformer(func=threading.Thread))


def external() -> bytes:
    """An ONNX graph whose weights claim to lie in a file of the machine."""
    import onnx

    model = onnx.load_model_from_string(as_onnx(signed_one(1), 1))
    tensor = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "0" * 64}, "incomplete or altered"),
        ({"size_bytes": 17}, "incomplete or altered"),
        ({"format": "joblib"}, "never pickle or joblib"),
        ({"data": pickle.dumps(signed_one(1))}, "never with pickle"),
        ({"data": untrusted()}, "allow-list"),
        ({"data": external(), "format": "onnx"}, "another file"),
        ({"data": as_onnx(signed_one(1), 3), "format": "onnx"}, "predict raised"),
    ],
)
async def test_a_file_that_must_not_be_loaded_is_refused_and_published_and_the_old_version_keeps_serving(
    bench: Bench, changes: dict[str, Any], reason: str
) -> None:
    await bench.register("plain", 1, model=signed_one(1), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    written = {key: changes[key] for key in ("data", "format") if key in changes}
    place = {key: value for key, value in changes.items() if key not in ("data", "format")}
    async with bench.running():
        bad = await bench.register("plain", 2, vocabularies={}, **written)
        if place:
            bad = await bench.register("plain", 2, vocabularies={}, place=msgspec.structs.replace(bad.place, **place))
        await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
        facts = await bench.read("inference.facts", lambda found: unloadable(found) != [])
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    (refused,) = unloadable(facts)
    assert refused.version == 2
    assert re.search(reason, refused.reason)
    assert isinstance(decision.answer, Served)


def unloadable(facts: list[Any]) -> list[VersionUnloadable]:
    """The refusals that were published."""
    return [fact.event for fact in facts if isinstance(fact.event, VersionUnloadable)]
