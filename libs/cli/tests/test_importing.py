"""Models from elsewhere: what is taken of an MLflow directory, what is refused, and pickles converted with parity."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.models import skops_format
from headrace_cli.main import app
from headrace_cli.models.conversion import convert
from headrace_cli.models.mlflow import find

ROWS = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0).astype(int)


def mlflow(folder: Path, flavors: Any, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "run_id": "run-1", **more}))
    return folder


@pytest.mark.parametrize(
    ("flavors", "name", "format"),
    [
        ({"python_function": {}, "onnx": {"data": "model.onnx"}}, "model.onnx", "onnx"),
        ({"xgboost": {"data": "model.xgb", "model_format": "xgb"}}, "model.xgb", "xgboost"),
        ({"lightgbm": {"data": "model.lgb"}}, "model.lgb", "lightgbm"),
        ({"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}, "model.skops", "skops"),
    ],
)
def test_the_file_and_its_format_are_found_by_flavour(tmp_path: Path, flavors: dict, name: str, format: str) -> None:
    folder = mlflow(tmp_path / "m", flavors, signature={"inputs": json.dumps([{"name": "a"}, {"name": "b"}])})
    (folder / name).write_bytes(b"PK")
    found = find(folder)
    assert (found.file, found.format, found.columns) == (folder / name, format, ("a", "b"))
    assert dict(found.tags)["mlflow_run"] == "run-1"


def test_a_pickle_is_refused_with_the_way_out_whatever_it_is_called(tmp_path: Path) -> None:
    folder = mlflow(tmp_path / "m", {"sklearn": {"pickled_model": "model.pkl"}})
    (folder / "model.pkl").write_bytes(b"")
    with pytest.raises(Misconfigured, match="headrace model convert"):
        find(folder)
    disguised = tmp_path / "model.skops"
    disguised.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(Misconfigured, match="is a pickle, which runs code"):
        find(disguised)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "is not YAML"),
        ("just words", "does not describe a model"),
        ("run_id: 1", "names no flavors"),
        ("flavors: {pytorch: {model_data: data}}", "holds pytorch; what can be served is onnx"),
        ("flavors: {onnx: {data: ../../etc/passwd}}", "points outside of the directory"),
        ("flavors: {onnx: {data: gone.onnx}}", "lacks the file 'gone.onnx'"),
        ("flavors: !!python/object/apply:os.system [ls]", "is not YAML"),
    ],
)
def test_a_directory_that_cannot_be_imported_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Misconfigured, match=reason):
        find(tmp_path)


def test_a_directory_without_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="has no file MLmodel"):
        find(tmp_path)


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
@pytest.mark.parametrize(
    "model", [LogisticRegression(), HistGradientBoostingClassifier(max_iter=3), LinearRegression()]
)
def test_a_pickle_becomes_a_skops_file_with_the_same_answers(tmp_path: Path, dump: Any, model: Any) -> None:
    file = tmp_path / "model.pkl"
    with file.open("wb") as opened:
        dump(model.fit(ROWS, LABELS), opened)
    done = convert(file, None, None)
    assert (done.file.name, done.format, done.rows) == ("model.skops", "skops", 200)
    assert done.largest_difference < 1e-6
    restored = skops_format.load(done.file.read_bytes())
    assert np.array_equal(restored.predict(ROWS), model.predict(ROWS))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosters_go_by_the_format_of_their_library(tmp_path: Path, library: str) -> None:
    if library == "xgboost":
        model: Any = pytest.importorskip("xgboost").XGBClassifier(n_estimators=3).fit(ROWS, LABELS)
    else:
        model = pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=3, verbose=-1).fit(ROWS, LABELS)
    joblib.dump(model, tmp_path / "model.pkl")
    np.save(tmp_path / "rows.npy", ROWS)
    done = convert(tmp_path / "model.pkl", None, tmp_path / "rows.npy")
    assert (done.format, done.rows) == (library, 100)
    assert done.largest_difference < 1e-6


def test_a_pickle_is_compared_on_the_rows_of_its_user(tmp_path: Path) -> None:
    joblib.dump(LogisticRegression().fit(ROWS, LABELS), tmp_path / "model.joblib")
    np.savetxt(tmp_path / "rows.csv", ROWS[:7], delimiter=",", header="a,b,c")
    out = tmp_path / "out.skops"
    ran = CliRunner().invoke(
        app,
        [
            "model",
            "convert",
            str(tmp_path / "model.joblib"),
            "--rows",
            str(tmp_path / "rows.csv"),
            "--out",
            str(out),
            "--json",
        ],
    )
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["rows"] == 7
    assert "runs the code in it" in ran.stderr
    assert skops.io.get_untrusted_types(file=out) == []


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"nonsense")
    with pytest.raises(Misconfigured, match="cannot be loaded here"):
        convert(tmp_path / "a.pkl", None, None)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"not": "a model"}))
    with pytest.raises(Misconfigured, match=r"cannot be served|does not say"):
        convert(tmp_path / "b.pkl", None, None)
