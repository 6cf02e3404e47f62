"""Versions are tried in a child process: what kills it, fills it or never ends takes nothing else with it."""

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from headrace.clock import ManualClock
from headrace.events.inference import Served, VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace_inference.adapters.load_checks import LoadChecks
from headrace_inference.adapters.models import Unloadable, try_out
from headrace_inference.core.load_check import ChildReport, Crashed, Failed, Passed, Rejected, judge

Bench = Any  # the fixture of conftest.py

ROWS = np.linspace(-1, 1, 50, dtype=np.float32).reshape(-1, 1)
NONE = np.empty((0, 1), np.float32)
POISONED = 10**8


def sound() -> Any:
    return DecisionTreeClassifier(max_depth=1).fit(ROWS, ROWS[:, 0] > 0)


def wild_xgboost() -> bytes:
    """A file whose categories lie far outside of their array: the library reads there as soon as it has loaded it."""
    import xgboost

    rows, labels = (np.arange(50) % 7).astype(np.float32).reshape(-1, 1), np.arange(50) % 7 % 2
    matrix = xgboost.DMatrix(rows, labels, feature_types=["c"], enable_categorical=True)
    parameters = {"objective": "binary:logistic", "max_cat_to_onehot": 1, "min_child_weight": 0}
    data = bytes(xgboost.train(parameters, matrix, 1).save_raw("ubj"))
    # NB: in binary: a file in JSON is looked at before the library reads it.
    before, name, after = data.partition(b"categories_segments[$L#L" + (1).to_bytes(8, "big"))
    assert name
    return before + name + (10**12).to_bytes(8, "big") + after[8:]


def wild_tree() -> bytes:
    """The same of scikit-learn, on a branch that few rows take."""
    model = sound()
    state = model.tree_.__getstate__()
    state["nodes"]["right_child"][0] = POISONED
    kind, arguments = model.tree_.__reduce__()[:2]
    tree = kind(*arguments)
    tree.__setstate__(state)
    model.tree_ = tree
    return skops.io.dumps(model)


def greedy() -> bytes:
    """A pipeline that wants tens of gigabytes for its first rows."""
    model = make_pipeline(PolynomialFeatures(2), LogisticRegression()).fit(ROWS, ROWS[:, 0] > 0)
    powers = model.steps[0][1]
    powers.degree, powers._max_degree, powers._n_out_full, powers.n_output_features_ = (2, 2, 10**9, 10**9)
    return skops.io.dumps(model)


def endless() -> bytes:
    """A graph that counts to a million million before it answers."""
    from onnx import TensorProto, helper

    def tensor(name: str, kind: int, *values: Any) -> Any:
        return helper.make_tensor(name, kind, [], values)

    body = helper.make_graph(
        [helper.make_node("Identity", ["goes_on"], ["goes_on_out"]), helper.make_node("Neg", ["kept"], ["kept_out"])],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept_out", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "yes", "rows"], ["said"], body=body)],
        "endless",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, [None, 1])],
        [tensor("times", TensorProto.INT64, 10**12), tensor("yes", TensorProto.BOOL, True)],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def trained_mode(what: str) -> bytes:
    """A network that was exported in training mode: it scores a row by its call's mean, or by what it draws."""
    from onnx import TensorProto, helper

    first = {
        "batch norm": helper.make_node("ReduceMean", ["rows"], ["noise"], axes=[0], keepdims=1),
        "dropout": helper.make_node("RandomNormalLike", ["rows"], ["noise"]),
        "none": helper.make_node("Identity", ["rows"], ["noise"]),
    }[what]
    graph = helper.make_graph(
        [first, helper.make_node("Sub", ["rows", "noise"], ["said"])],
        "trained",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, [None, 1])],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("batch norm", "its score of a row depends on the rows beside it: "),
        ("dropout", "its score of the same row differs each time: "),
        ("none", None),
    ],
)
async def test_a_network_in_training_mode_is_refused_for_its_scores_are_not_of_one_row(
    bench: Bench, what: str, reason: str | None
) -> None:
    version = await registered(bench, data=trained_mode(what), format="onnx", output="number")
    if reason is None:
        assert try_out(*version, NONE).footprint_bytes
        return
    with pytest.raises(Unloadable, match=f"^{reason}.*exported in inference mode"):
        try_out(*version, ROWS)


async def test_a_model_that_is_slow_is_asked_no_further_rows_for_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("headrace_inference.adapters.models._CONSTANCY_CPU_S", -1.0)
    monkeypatch.setattr(
        "headrace_inference.adapters.models.predict",
        lambda engine, rows, output: asked.append(len(rows)) or engine.predict(rows, output),
    )
    try_out(*await registered(bench, data=trained_mode("none"), format="onnx", output="number"), ROWS)
    assert asked == [1, 8]


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(3, algorithm="brute"),
        make_pipeline(StandardScaler(), PCA(1), HistGradientBoostingClassifier(max_iter=10)),
        RandomForestClassifier(30, max_depth=4),
        GradientBoostingClassifier(n_estimators=10),
        MLPClassifier((8,), max_iter=20),
        SVC(probability=True),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")
async def test_models_whose_scores_are_of_one_row_pass(bench: Bench, model: Any) -> None:
    integers = np.round(ROWS * 5)  # ties, which rounding might decide
    version = await registered(bench, data=skops.io.dumps(model.fit(integers, integers[:, 0] > 0)))
    assert try_out(*version, integers).footprint_bytes


async def registered(bench: Bench, version: int = 1, **changes: Any) -> tuple[VersionRegistered, ArtifactPlace, bytes]:
    """A version, and what a load check is given of it."""
    from headrace.models import artifacts

    made = await bench.register("plain", version, vocabularies={}, **changes)
    return made, made.place, await artifacts.fetch(bench.log, bench.topics, made.place)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_file_that_kills_its_process_is_rejected_the_second_time_and_the_others_never_notice(
    bench: Bench, clock: ManualClock
) -> None:
    bench.load_check = LoadChecks()
    await bench.register("plain", 1, model=sound(), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.register("plain", 2, vocabularies={}, data=wild_xgboost(), format="xgboost")
        await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
        facts = await bench.read("inference.facts", lambda found: of(found, VersionLoadFailed) != [])
        await bench.ask("plain", {"x": 0.7}, id="between")
        clock.advance(2)
        facts = await bench.read("inference.facts", lambda found: of(found, VersionUnloadable) != [])
        await bench.ask("plain", {"x": 0.7}, id="after")
        decisions = await bench.decisions(2)
    (failed,), (rejected,) = of(facts, VersionLoadFailed), of(facts, VersionUnloadable)
    assert (failed.version, failed.cause, failed.attempt, failed.retry_after_s) == (2, "child", 1, 1.0)
    assert (rejected.version, rejected.reason) == (
        2,
        "its process died of SIGSEGV while it was loaded and first asked, twice",
    )
    assert [warmed.version for warmed in of(facts, VersionWarmed)] == [1]
    assert all(isinstance(decision.answer, Served) for decision in decisions)


async def test_a_tree_that_points_outside_of_its_arrays_is_refused_before_any_row_takes_that_branch(
    bench: Bench,
) -> None:
    await bench.register("plain", 1, vocabularies={}, data=wild_tree())
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: of(found, VersionUnloadable) != [])
        await bench.until(lambda: bench.health.degraded != {})
    (rejected,) = of(facts, VersionUnloadable)
    assert rejected.reason == "artifact holds a tree whose nodes point outside of it, or back"
    assert bench.health.degraded == {"plain": f"version 1: {rejected.reason}"}
    assert (bench.health.rejected, bench.health.failed_loads) == ({"plain/1": rejected.reason}, {})
    assert bench.health.is_ready


@pytest.mark.slow
async def test_one_process_tries_one_version_after_the_other_and_each_gets_its_own_verdict(bench: Bench) -> None:
    checks = LoadChecks()
    good, bad = await registered(bench, 1, model=sound()), await registered(bench, 2, data=b"not a model")
    found = []
    pids = set()
    for version in (good, bad, good):
        found.append(await checks.judge(*version, NONE))
        pids.add(checks.pid)
    await checks.close()
    assert isinstance(found[0], Passed)
    assert isinstance(found[1], Rejected)
    assert "zip" in found[1].reason
    assert found[0] == found[2]
    assert len(pids) == 1


@pytest.mark.slow
async def test_a_version_that_takes_more_memory_than_its_file_declares_is_rejected_when_there_is_some(
    bench: Bench,
) -> None:
    checks = LoadChecks()
    found = await checks.judge(*await registered(bench, data=greedy()), NONE)
    await checks.close()
    assert isinstance(found, Rejected)
    assert "takes more than" in found.reason


@pytest.mark.slow
async def test_a_version_that_takes_more_cpu_than_it_may_is_rejected(bench: Bench) -> None:
    checks = LoadChecks(cpu_s=1)
    version = await registered(bench, data=endless(), format="onnx", output="number")
    found = await checks.judge(*version, NONE)
    await checks.close()
    assert found == Rejected("loading and first asking it used more than 1 s of CPU")


async def _meanwhile(checks: LoadChecks, version: Any, number: int) -> Any:
    """The verdict on a version whose process gets a signal as soon as it is there."""
    task = asyncio.create_task(checks.judge(*version, NONE))
    async with asyncio.timeout(30):
        while checks.pid is None:
            await asyncio.sleep(0.01)
    os.kill(checks.pid, number)
    found = await task
    await checks.close()
    return found


@pytest.mark.slow
async def test_the_memory_killer_says_nothing_against_a_version(bench: Bench) -> None:
    found = await _meanwhile(LoadChecks(), await registered(bench, model=sound()), signal.SIGKILL)
    assert isinstance(found, Failed)
    assert found.cause == "memory"


@pytest.mark.slow
async def test_a_process_that_neither_runs_nor_waits_for_a_core_is_killed_and_the_version_is_tried_again(
    bench: Bench,
) -> None:
    found = await _meanwhile(LoadChecks(hung_after_s=1.0), await registered(bench, model=sound()), signal.SIGSTOP)
    assert isinstance(found, Failed)
    assert found.cause == "time"


@pytest.mark.parametrize(
    ("report", "exit_code", "free_bytes", "verdict"),
    [
        (ChildReport("passed", "", 7), None, None, Passed),
        (ChildReport("rejected", "golden rows"), None, None, Rejected),
        (ChildReport("memory", "", 7, 100), None, 100, Rejected),
        (ChildReport("memory", "", 7, 100), None, 99, Failed),
        (ChildReport("memory", "", 7, 100), None, None, Failed),
        (ChildReport("broken", "OSError"), None, None, Failed),
        (None, -signal.SIGSEGV, None, Crashed),
        (None, -signal.SIGABRT, None, Crashed),
        (None, -signal.SIGBUS, None, Crashed),
        (None, -signal.SIGILL, None, Crashed),
        (None, -signal.SIGXCPU, None, Rejected),
        (None, -signal.SIGKILL, None, Failed),
        (None, -signal.SIGTERM, None, Failed),
        (None, 1, None, Failed),
    ],
)
def test_only_what_the_pace_of_the_machine_cannot_change_rejects(
    report: ChildReport | None, exit_code: int | None, free_bytes: int | None, verdict: type
) -> None:
    assert isinstance(judge(report, exit_code, free_bytes, 60), verdict)


def of(facts: list[Any], kind: type) -> list[Any]:
    """The facts of one kind."""
    return [fact.event for fact in facts if isinstance(fact.event, kind)]
