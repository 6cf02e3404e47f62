"""Every format scores as its own library does, and a file is only loaded when it is what it claims to be."""

import io
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import skops.io
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from headrace.errors import Misconfigured, Poison
from headrace.events.registry import ColumnPin
from headrace.models import engine
from headrace.models.frames import frame_of

ROWS = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
LABELS = {
    "binary": (ROWS[:, 0] > 0).astype(int),
    "classes": np.digitize(ROWS[:, 0], [-0.5, 0.5]),
    "number": np.ascontiguousarray(ROWS[:, 1]),
}
OUTPUTS = tuple(LABELS)


def sklearn_model(output: str) -> Any:
    return (Ridge() if output == "number" else LogisticRegression()).fit(ROWS, LABELS[output])


def by_sklearn(output: str) -> tuple[bytes, np.ndarray]:
    model = sklearn_model(output)
    return skops.io.dumps(model), model.predict(ROWS) if output == "number" else model.predict_proba(ROWS)


def by_onnx(output: str) -> tuple[bytes, np.ndarray]:
    options = None if output == "number" else {"zipmap": False}
    return to_onnx(sklearn_model(output), ROWS[:1], options=options).SerializeToString(), by_sklearn(output)[1]


def by_xgboost(output: str) -> tuple[bytes, np.ndarray]:
    kinds = {"binary": "binary:logistic", "classes": "multi:softprob", "number": "reg:squarederror"}
    more = {"num_class": 3} if output == "classes" else {}
    matrix = xgboost.DMatrix(ROWS, LABELS[output])
    booster = xgboost.train({"objective": kinds[output], "nthread": 1, **more}, matrix, 5)
    return bytes(booster.save_raw("ubj")), booster.predict(matrix)


def by_lightgbm(output: str) -> tuple[bytes, np.ndarray]:
    kinds = {"binary": "binary", "classes": "multiclass", "number": "regression"}
    more = {"num_class": 3} if output == "classes" else {}
    parameters = {"objective": kinds[output], "num_threads": 1, "verbosity": -1, **more}
    booster = lightgbm.train(parameters, lightgbm.Dataset(ROWS, LABELS[output]), 5)
    return booster.model_to_string().encode(), np.asarray(booster.predict(ROWS))


MAKERS: dict[str, Callable[[str], tuple[bytes, np.ndarray]]] = {
    "skops": by_sklearn,
    "onnx": by_onnx,
    "xgboost": by_xgboost,
    "lightgbm": by_lightgbm,
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("format", engine.FORMATS)
def test_an_engine_scores_as_its_library_does(format: str, output: str) -> None:
    data, wanted = MAKERS[format](output)
    loaded = engine.load(data, format)
    assert (loaded.output, loaded.columns) == (output, 4)
    assert len(loaded.labels) == {"binary": 2, "classes": 3, "number": 0}[output]
    scores = loaded.predict(ROWS, output)
    assert scores.shape == {"binary": (300, 2), "classes": (300, 3), "number": (300,)}[output]
    assert scores == pytest.approx(engine.as_served(wanted, output), abs=1e-5)
    assert engine.footprint_bytes(data, format) >= len(data)


def linear(*, domain: str = "", external: bool = False, inputs: int = 1) -> bytes:
    """A graph that multiplies rows by a weight; `domain`: of its operator."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 1], [1.0, 0, 0, 0])
    if external:
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 1])
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/hostname")
    node = helper.make_node("MatMul", ["x0", "w"], ["y"], domain=domain)
    rows = [helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, [None, 4]) for n in range(inputs)]
    graph = helper.make_graph([node], "g", rows, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])
    graph.initializer.append(weight)
    imports = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def hidden_in_a_branch() -> bytes:
    """A custom operator that is only in the branch of an `If`."""
    inner = helper.make_node("Escape", [], ["z"], domain="evil")
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1])
    branch = helper.make_graph([inner], "b", [], [out])
    test = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    graph = helper.make_graph([test], "g", [rows], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])
    return helper.make_model(graph, ir_version=9).SerializeToString()


def test_a_plain_graph_is_a_regressor() -> None:
    assert engine.load(linear(), "onnx").predict(ROWS[:5], "number") == pytest.approx(ROWS[:5, 0])


def bomb() -> bytes:
    """A skops file of some kilobytes that would unpack to over 512 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(9):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as entry:
                for _ in range(60):
                    entry.write(bytes(1024 * 1024))
    return packed.getvalue()


def untrusted() -> bytes:
    from sklearn.preprocessing import FunctionTransformer

    return skops.io.dumps(FunctionTransformer(func=pickle.loads))


@pytest.mark.parametrize(
    ("format", "make", "reason"),
    [
        ("skops", lambda: pickle.dumps(LogisticRegression()), "never with pickle"),
        ("skops", lambda: by_sklearn("binary")[0][:-200], "zip"),
        ("skops", untrusted, "allow-list"),
        ("skops", bomb, "unpack"),
        ("pickle", lambda: b"", "is not served"),
        ("onnx", lambda: linear(external=True), "another file"),
        ("onnx", lambda: linear(domain="evil"), "evil.MatMul"),
        ("onnx", hidden_in_a_branch, "evil.Escape"),
        ("onnx", lambda: linear(inputs=2), "one float matrix"),
        ("onnx", lambda: by_onnx("binary")[0][:-200], "ONNX"),
        ("onnx", lambda: b"not a model", "ONNX"),
        ("xgboost", lambda: by_xgboost("binary")[0][:-200], "XGBoost"),
        ("xgboost", lambda: pickle.dumps({}), "save it by"),
        ("lightgbm", lambda: by_lightgbm("binary")[0][:400], "not a whole LightGBM model"),
    ],
)
def test_what_must_not_be_loaded_is_refused(format: str, make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(Poison, match=reason):
        engine.load(make(), format)


def test_an_objective_that_gives_labels_is_refused_with_the_one_to_use() -> None:
    matrix = xgboost.DMatrix(ROWS, LABELS["classes"])
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, matrix, 1)
    with pytest.raises(Poison, match="train with multi:softprob"):
        engine.load(bytes(booster.save_raw("json")), "xgboost")


def test_a_missing_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    with pytest.raises(Poison, match=r"pip install 'headrace-inference\[xgboost\]'"):
        engine.load(b"{}", "xgboost")


def test_an_unknown_suffix_names_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match=r"\.onnx"):
        engine.format_of("model.pkl")


def test_a_frame_has_the_values_of_the_codes_and_nan_where_there_are_none() -> None:
    pins = [ColumnPin("miles"), ColumnPin("carrier", ("AA", "UA"))]
    frame = frame_of(np.array([[0.5, 1], [np.nan, 0], [2, np.nan]], np.float32), pins)
    assert list(frame.columns) == ["miles", "carrier"]
    assert frame["carrier"].tolist()[:2] == ["UA", "AA"]
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, False], [False, True]]


def test_an_unknown_value_is_not_a_missing_one_in_a_frame() -> None:
    pins = [ColumnPin("carrier", ("AA", "~unseen~"))]
    frame = frame_of(np.array([[1], [2], [np.nan]], np.float32), pins)
    assert frame["carrier"].tolist()[:2] == ["~unseen~", "~unseen~~"]
    assert frame["carrier"].isna().tolist() == [False, False, True]


def test_trees_on_onnx_with_missing_values_agree_to_the_last_digits() -> None:
    rows = np.where(np.random.default_rng(1).random(ROWS.shape) < 0.1, np.nan, ROWS).astype(np.float32)
    model = HistGradientBoostingClassifier(max_iter=20).fit(rows, LABELS["binary"])
    data = to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString()
    assert onnx.load_model_from_string(data).graph.node
    assert engine.load(data, "onnx").predict(rows, "binary") == pytest.approx(model.predict_proba(rows), abs=1e-5)
