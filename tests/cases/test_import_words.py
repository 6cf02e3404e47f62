"""Cases 3, 4 and 10: the words of every category are learned from the file or given; missing, empty, foreign and repeated ones are refused."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from tests.cases.imported import compiled, registered

from headrace.errors import Misconfigured, Poison
from headrace.models.engine import format_of
from headrace.project import Category, Number
from headrace_cli.models.registration import Registration, register_file
from headrace_cli.models.samples import MOST_ROWS, read_requests
from headrace_cli.models.vocabularies import read_words

RNG = np.random.default_rng(5)
SEX = RNG.choice(["male", "female"], 400)
AGE = RNG.integers(1, 80, 400).astype(float)
FRAME = pd.DataFrame({"age": AGE, "sex": SEX})
LIVED = ((SEX == "female") ^ (RNG.random(400) < 0.1)).astype(int)
INPUTS = [Category("sex"), Number("age", 0, 120)]
ASKED = [{"sex": "female", "age": 30.0}, {"sex": "male", "age": 30.0}]
WANTED = pd.DataFrame(ASKED)[["age", "sex"]]
CODED = np.c_[SEX == "male", AGE].astype(np.float32)


def by_columns(*encoder: Any) -> Any:
    return make_column_transformer((make_pipeline(*encoder), ["sex"]), (StandardScaler(), ["age"]))


PIPELINES = {
    "one-hot": make_pipeline(by_columns(OneHotEncoder()), LogisticRegression()),
    "imputed": make_pipeline(
        by_columns(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), LogisticRegression()
    ),
    "ordinal": make_pipeline(by_columns(OrdinalEncoder()), RandomForestClassifier(10, random_state=0)),
    "target": make_pipeline(by_columns(TargetEncoder()), LogisticRegression()),
    "search": GridSearchCV(
        make_pipeline(by_columns(OneHotEncoder()), LogisticRegression()), {"logisticregression__C": [1.0]}
    ),
    "histogram": HistGradientBoostingClassifier(categorical_features=["sex"], max_iter=20),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_of_words_is_served_with_the_words_of_its_encoder(kind: str) -> None:
    model = PIPELINES[kind].fit(FRAME, LIVED)
    served = registered(skops.io.dumps(model), "skops", INPUTS)
    assert served.signature.columns[0].vocabulary == ("female", "male")
    assert served.signature.frame
    assert any("--frame" in note for note in served.agreed.notes)
    scores, wanted = served.scores(ASKED)[:, 1], model.predict_proba(WANTED)[:, 1]
    assert scores == pytest.approx(wanted, abs=1e-6)
    assert scores[0] > 0.6 > 0.4 > scores[1]
    assert served.maker_scores(ASKED)[:, 1] == pytest.approx(wanted, abs=1e-9)


def test_lightgbm_knows_the_words_of_its_frame() -> None:
    model = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(FRAME.astype({"sex": "category"}), LIVED)
    served = registered(model.booster_.model_to_string().encode(), "lightgbm", INPUTS)
    assert served.signature.columns[0].vocabulary == ("female", "male")
    wanted = model.predict_proba(WANTED.astype({"sex": FRAME.astype({"sex": "category"}).sex.dtype}))[:, 1]
    assert served.scores(ASKED)[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert served.maker_scores(ASKED)[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert wanted[0] > 0.6 > 0.4 > wanted[1]


def test_xgboost_knows_the_words_of_its_frame() -> None:
    model = xgboost.XGBClassifier(n_estimators=20, n_jobs=1, enable_categorical=True)
    model.fit(FRAME.astype({"sex": "category"}), LIVED)
    served = registered(bytes(model.get_booster().save_raw("ubj")), "xgboost", INPUTS)
    assert served.signature.columns[0].vocabulary == ("female", "male")
    wanted = model.predict_proba(WANTED.astype({"sex": "category"}))[:, 1]
    assert served.scores(ASKED)[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert served.maker_scores(ASKED)[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert wanted[0] > 0.6 > 0.4 > wanted[1]


@pytest.mark.parametrize("words", [("é", "b"), ("ab", "éé"), ("日本", "a")])
def test_words_that_xgboost_cuts_in_its_file_are_refused(words: tuple[str, str]) -> None:
    """XGBoost 3.2 writes as many bytes as a word has letters. It cuts "éé" to "é", which is valid text and another word."""
    frame = pd.DataFrame({"sex": pd.Categorical(list(words) * 50), "age": np.arange(100.0)})
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, enable_categorical=True).fit(frame, [0, 1] * 50)
    with pytest.raises(Poison, match="XGBoost's file cuts texts with letters beyond ASCII"):
        registered(bytes(model.get_booster().save_raw("ubj")), "xgboost", [Category("sex"), Number("age")])


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_categories_that_are_numbers_to_a_booster_are_words_to_a_request(library: str) -> None:
    frame = pd.DataFrame({"age": AGE, "sex": np.where(SEX == "male", 7, 12)}).astype({"sex": "category"})
    if library == "lightgbm":
        model: Any = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(frame, LIVED)
        data = model.booster_.model_to_string().encode()
    else:
        model = xgboost.XGBClassifier(n_estimators=20, n_jobs=1, enable_categorical=True).fit(frame, LIVED)
        data = bytes(model.get_booster().save_raw("json"))
    served = registered(data, library, INPUTS)
    assert served.signature.columns[0].vocabulary == ("7", "12")
    asked = [{"sex": "12", "age": 30.0}, {"sex": "7", "age": 30.0}]
    wanted = model.predict_proba(pd.DataFrame({"age": [30.0, 30.0], "sex": [12, 7]}).astype({"sex": frame.sex.dtype}))[
        :, 1
    ]
    assert wanted[0] > 0.6 > 0.4 > wanted[1]
    assert served.scores(asked)[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert served.maker_scores(asked)[:, 1] == pytest.approx(wanted, abs=1e-6)


def matrix_model() -> bytes:
    return skops.io.dumps(HistGradientBoostingClassifier(max_iter=20, categorical_features=[0]).fit(CODED, LIVED))


def test_the_words_of_codes_are_given_in_their_order() -> None:
    served = registered(matrix_model(), "skops", INPUTS, words={"sex": ("female", "male")})
    scores = served.scores(ASKED)[:, 1]
    assert scores[0] > 0.6 > 0.4 > scores[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "the words of 'sex' are not in the model's file: the model sees codes, .*--categories FILE"),
        ({}, "the words of 'sex' are not in the model's file"),
        ({"seks": ("male", "female")}, "--categories names 'seks', and the categories are sex"),
        ({"age": ("1",)}, "--categories names 'age', and the categories are sex"),
    ],
)
def test_words_that_are_missing_or_foreign_are_refused(words: Any, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        registered(matrix_model(), "skops", INPUTS, words=words)


def test_words_other_than_the_files_are_refused() -> None:
    data = skops.io.dumps(PIPELINES["one-hot"].fit(FRAME, LIVED))
    with pytest.raises(Misconfigured, match="gives 'sex' m, f, the model's file knows female, male: leave 'sex' out"):
        registered(data, "skops", INPUTS, words={"sex": ("m", "f")})
    assert registered(data, "skops", INPUTS, words={"sex": ("male", "female")}).scores(ASKED)[0, 1] > 0.6
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(FRAME.astype({"sex": "category"}), LIVED)
    with pytest.raises(Misconfigured, match="and their order is their codes"):
        registered(model.booster_.model_to_string().encode(), "lightgbm", INPUTS, words={"sex": ("male", "female")})


def test_a_category_that_is_a_number_to_the_model_is_refused_and_the_other_way_round() -> None:
    zones = pd.DataFrame({"sex": (SEX == "male").astype(int), "age": AGE})
    data = skops.io.dumps(PIPELINES["one-hot"].fit(zones, LIVED))
    with pytest.raises(Misconfigured, match=r"knows numbers in 'sex', .*declare it as Number\('sex'\)"):
        registered(data, "skops", INPUTS)
    data = skops.io.dumps(PIPELINES["one-hot"].fit(FRAME, LIVED))
    with pytest.raises(Misconfigured, match=r"sex is a category to the model \(female, male\): declare it as Category"):
        registered(data, "skops", [Number("sex"), Number("age")])


def test_free_text_is_no_category() -> None:
    text = make_column_transformer((TfidfVectorizer(), "sex"), (StandardScaler(), ["age"]))
    data = skops.io.dumps(make_pipeline(text, LogisticRegression()).fit(FRAME, LIVED))
    with pytest.raises(Misconfigured, match="TfidfVectorizer reads free text"):
        registered(data, "skops", INPUTS, words={"sex": ("male", "female")})


# -- case 4: files that are no files of words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON; it holds the values of each category in code order"),
        ("[]", "holds a list, not the values of each category by its name"),
        ('{"sex": "male"}', "the values of 'sex' must be a list of words, got \"male\""),
        ('{"sex": ["male", null]}', "value 1 of 'sex' must be text, got null"),
        ('{"sex": ["male", 1]}', "value 1 of 'sex' must be text, got 1"),
        ('{"sex": ["male", "female", "male"]}', "'sex' has 'male' twice"),
        ('{"sex": []}', "'sex' has no words"),
    ],
)
def test_a_file_that_gives_no_words_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "words.json"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=message):
        register_file(tmp_path / "model.skops", Registration("d", "r", file))
    with pytest.raises(Misconfigured, match=r"cannot read .*gone.json: No such file"):
        register_file(tmp_path / "model.skops", Registration("d", "r", tmp_path / "gone.json"))
    assert read_words(file, b'{"sex": ["male"]}') == {"sex": ("male",)}


# -- samples


def sample_file(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / f"rows.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows))
    elif kind == "csv":
        pl.DataFrame(rows).write_csv(file)
    else:
        pl.DataFrame(rows).write_parquet(file)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_sample_is_read_as_requests(tmp_path: Path, kind: str) -> None:
    file = sample_file(tmp_path, kind, [{**row, "seen": True} for row in ASKED])
    found = read_requests(file, compiled(INPUTS)[1])
    assert [dict(row) for row in found.inputs] == ASKED
    assert found.words(["sex"]) == {"sex": {"male", "female"}}


@pytest.mark.parametrize(("kind", "place"), [("csv", "line 3"), ("parquet", "row 2"), ("jsonl", "line 2")])
def test_a_row_that_breaks_the_contract_is_named_with_its_line_and_field(tmp_path: Path, kind: str, place: str) -> None:
    file = sample_file(tmp_path, kind, [ASKED[0], {"sex": "male", "age": 700.0}])
    with pytest.raises(Misconfigured, match=rf"{place}: age must be at most 120, got 700"):
        read_requests(file, compiled(INPUTS)[1])


def test_a_sample_without_rows_or_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("sex,age\n")
    with pytest.raises(Misconfigured, match="holds no rows"):
        read_requests(tmp_path / "none.csv", compiled(INPUTS)[1])
    (tmp_path / "half.csv").write_text("sex\nmale\n")
    with pytest.raises(Misconfigured, match="has no column age"):
        read_requests(tmp_path / "half.csv", compiled(INPUTS)[1])
    (tmp_path / "words.jsonl").write_text("[1]\n")
    with pytest.raises(Misconfigured, match="line 1 is not a JSON object of inputs"):
        read_requests(tmp_path / "words.jsonl", compiled(INPUTS)[1])


def test_a_large_sample_is_read_as_far_as_it_helps(tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("sex,age\n" + "male,1\n" * (MOST_ROWS + 5))
    assert len(read_requests(tmp_path / "many.csv", compiled(INPUTS)[1]).inputs) == MOST_ROWS


def test_a_sample_gives_words_to_a_frame_and_not_to_codes(tmp_path: Path) -> None:
    deployment = compiled(INPUTS)[1]
    requests = read_requests(sample_file(tmp_path, "csv", ASKED), deployment)
    with pytest.raises(Misconfigured, match="0 for the first word, which no sample shows"):
        registered(matrix_model(), "skops", INPUTS, requests=requests)
    unread = make_pipeline(make_column_transformer((StandardScaler(), ["age"])), LogisticRegression()).fit(FRAME, LIVED)
    served = registered(skops.io.dumps(unread), "skops", INPUTS, requests=requests)
    assert served.signature.columns[0].vocabulary == ("female", "male")
    with pytest.raises(Misconfigured, match="give a file of requests with --sample FILE"):
        registered(skops.io.dumps(unread), "skops", INPUTS)


def test_a_sample_of_which_the_model_knows_no_word_is_refused(tmp_path: Path) -> None:
    data = skops.io.dumps(PIPELINES["one-hot"].fit(FRAME, LIVED))
    requests = read_requests(sample_file(tmp_path, "csv", [{"sex": "M", "age": 1.0}]), compiled(INPUTS)[1])
    with pytest.raises(Misconfigured, match=r"no value of 'sex' in the sample \(M\) is a word that the model knows"):
        registered(data, "skops", INPUTS, requests=requests)


def test_an_encoder_that_knows_none_is_refused_for_missing_values_are_nan() -> None:
    frame = FRAME.astype({"sex": object})
    frame.loc[3, "sex"] = None
    model = make_pipeline(by_columns(OneHotEncoder()), LogisticRegression()).fit(frame, LIVED)
    with pytest.raises((Misconfigured, Poison), match="the encoder of sex knows None"):
        registered(skops.io.dumps(model), "skops", INPUTS)


def coded(kind: str, codes: np.ndarray) -> tuple[bytes, str]:
    """A model that was fitted on codes instead of words."""
    rows = np.c_[codes, AGE].astype(np.float32)
    if kind == "lightgbm":
        model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)
        return model.fit(rows, LIVED, categorical_feature=[0]).booster_.model_to_string().encode(), kind
    if kind == "one-hot":
        encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]), remainder="passthrough")
        return skops.io.dumps(make_pipeline(encoder, LogisticRegression()).fit(rows, LIVED)), "skops"
    model = HistGradientBoostingClassifier(categorical_features=[0], max_iter=5)
    return skops.io.dumps(model.fit(rows, LIVED)), "skops"


@pytest.mark.parametrize("kind", ["histogram", "one-hot", "lightgbm"])
@pytest.mark.parametrize(
    ("first", "words", "message"),
    [
        (0, ("a", "b"), r"the model knows 3 codes of 'sex' \(0 to 2\), and --categories gives it 2 words"),
        (1, ("a", "b", "c"), r"\(1 to 3\), which begin with 1: fit it on codes from 0 on"),
    ],
)
def test_codes_that_no_word_has_are_refused(kind: str, first: int, words: tuple[str, ...], message: str) -> None:
    """One word too few, or codes that begin at 1, shifted every word by one place or made the last one NaN."""
    data, format = coded(kind, RNG.integers(first, first + 3, 400))
    with pytest.raises(Misconfigured, match=message):
        registered(data, format, INPUTS, words={"sex": words})


@pytest.mark.parametrize("kind", ["histogram", "one-hot", "lightgbm"])
def test_words_that_the_model_has_not_seen_yet_may_have_codes_too(kind: str) -> None:
    data, format = coded(kind, RNG.integers(0, 3, 400))
    served = registered(data, format, INPUTS, words={"sex": ("a", "b", "c", "d")})
    assert served.signature.columns[0].vocabulary == ("a", "b", "c", "d")


def test_a_samples_words_that_the_model_does_not_know_are_reported(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sex,age\nmale,3\nFemale,4\n")
    model = PIPELINES["one-hot"].fit(FRAME, LIVED)
    requests = read_requests(tmp_path / "rows.csv", compiled(INPUTS)[1])
    notes = registered(skops.io.dumps(model), "skops", INPUTS, requests=requests).agreed.notes
    assert "of the sample's values of 'sex' the model does not know 'Female'" in notes


def test_a_category_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="it has 'sex' twice"):
        read_words(tmp_path / "words.json", b'{"sex": ["f", "m"], "sex": ["m", "f"]}')


def test_one_json_value_is_no_file_of_requests(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"sex": "male", "age": 3}]')
    with pytest.raises(Misconfigured, match=r"write one object of inputs per line, and name the file .jsonl"):
        read_requests(tmp_path / "rows.json", compiled(INPUTS)[1])


def test_a_pickle_is_sent_to_convert() -> None:
    with pytest.raises(Misconfigured, match=r"`headrace model convert m\.pkl` where it was made writes such a file"):
        format_of("m.pkl")
