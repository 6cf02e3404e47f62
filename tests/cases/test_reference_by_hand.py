"""A version that was registered by hand with `--reference`: what is normal for it is read from a file, and live rows are compared."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from headrace.errors import Misconfigured
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import FindingOpened
from headrace.events.registry import ArtifactPlace, Lineage, VersionRegistered
from headrace.features.rows import pin_signature
from headrace.models.engine import load
from headrace.models.proving import Answering
from headrace.project import Category, Count, Deployment, FeatureView, Key, Mean, Number, Project, Source
from headrace.project.compile import compile_project
from headrace.stats.distinct import count_of
from headrace_cli.models.reference_rows import Described, read_reference
from headrace_monitor.core.findings import key_of
from headrace_monitor.core.input_watch import InputWatch
from headrace_monitor.core.references import References

DAY, HOUR, PER_HOUR = 86_400.0, 3600.0, 20
BEGIN = 1_767_225_600.0  # 2026-01-01


class Event(msgspec.Struct):
    at: float
    who: str
    size: float


INPUTS = [Number("x", -9, 9), Number("y", -9, 9, nullable=True), Category("c")]
WORDS = {"c": ("a", "b", "z")}
PROJECT = compile_project(Project("p", [Deployment("d", "u", INPUTS)]))
DEPLOYMENT = PROJECT.deployment("d")
ANSWERING = Answering(pin_signature(PROJECT, DEPLOYMENT, WORDS), "binary", 2)


def drawn(days: int, seed: int = 1, shift: float = 0.0, null_share: float = 0.02) -> pl.DataFrame:
    """Rows of so many days, twenty an hour."""
    rng = np.random.default_rng(seed)
    count = int(days * 24 * PER_HOUR)
    at = [datetime.fromtimestamp(BEGIN + n * HOUR / PER_HOUR, UTC) for n in range(count)]
    y = np.where(rng.random(count) < null_share, None, rng.normal(0, 1, count).clip(-8, 8))
    words = rng.choice(["a", "b", "z"], count, p=[0.6, 0.38, 0.02])
    return pl.DataFrame(
        {"at": at, "x": rng.normal(shift, 1, count).clip(-8, 8), "y": y.tolist(), "c": words, "more": 1}
    )


def model() -> bytes:
    rng = np.random.default_rng(2)
    rows = np.column_stack([rng.normal(size=(400, 2)), rng.integers(0, 3, 400)])
    return skops.io.dumps(LogisticRegression().fit(rows, rows[:, 0] + rng.normal(size=400) > 0))


def filled(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that the model can score: it knows no missing value."""
    return rows.with_columns(pl.col("y").fill_null(0.0))


def described(rows: pl.DataFrame, folder: Path, at: str = "at") -> Described:
    rows.write_parquet(folder / "rows.parquet")
    return read_reference(folder / "rows.parquet", at, DEPLOYMENT, ANSWERING, load(model(), "skops"))


def test_the_columns_and_the_scores_of_a_file_are_described(tmp_path: Path) -> None:
    rows = filled(drawn(20))
    found = described(rows.sample(fraction=1.0, shuffle=True, seed=3), tmp_path)
    reference = found.reference
    assert found.notes == ()
    assert (reference.rows, reference.from_s, reference.block_s) == (20 * 24 * PER_HOUR, BEGIN, DAY)
    x, y, c = reference.columns
    assert (x.low, x.high) == (pytest.approx(rows["x"].min()), pytest.approx(rows["x"].max()))
    assert (c.kind, c.codes, c.null_share, y.null_share) == ("category", (0, 1, 2), 0.0, 0.0)
    assert (count_of(c.distinct_sketch), count_of(x.distinct_sketch)) == (3, pytest.approx(len(rows), rel=0.2))
    assert x.tail is not None
    assert reference.scores is not None
    assert reference.scores.shares == pytest.approx([0.1] * 10, abs=1e-3)
    assert 0 < (reference.scores.low or 0) < (reference.scores.high or 0) < 1


def test_rows_that_break_the_contract_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = filled(drawn(20)).with_row_index("n")
    broken = rows.with_columns(x=pl.when(pl.col("n") < 3).then(700.0).otherwise(pl.col("x")))
    found = described(broken.drop("n"), tmp_path)
    assert found.reference.rows == len(rows) - 3
    assert found.notes == (
        f"3 rows of {tmp_path / 'rows.parquet'} are left out, the first: row 1: x must be at most 9, got 700",
    )


def test_what_cannot_be_a_reference_is_refused_with_the_way_out(tmp_path: Path) -> None:
    rows = filled(drawn(20))
    with pytest.raises(
        Misconfigured, match=r"no column 'when' .*\(--reference-at names it\).* it has: at, x, y, c, more"
    ):
        described(rows, tmp_path, "when")
    with pytest.raises(Misconfigured, match="has no column x; it has"):
        described(rows.drop("x"), tmp_path)
    with pytest.raises(Misconfigured, match="holds 100 rows that can be described, at least 200 are needed"):
        described(rows.head(100), tmp_path)
    with pytest.raises(
        Misconfigured, match="200 are needed; the first that cannot: row 1: x must be at most 9, got 700"
    ):
        described(rows.with_columns(x=700.0), tmp_path)


def test_rows_of_a_few_days_say_what_they_cannot_show(tmp_path: Path) -> None:
    (note,) = described(filled(drawn(3)), tmp_path).notes
    assert "columns that move away from them are not found, nulls and values out of range are" in note


def test_features_of_views_are_columns_of_the_file(tmp_path: Path) -> None:
    source = Source("s", event=Event, event_time="at", key="who")
    view = FeatureView(
        "v", source=source, entity="who", features={"n": Count("1h"), "m": Mean("size", "1h", default=3.0)}
    )
    asked = Deployment("d", "u", [Number("x", -9, 9), Key("who")], [view.by("who")])
    project = compile_project(Project("p", [asked], sources=[source], views=[view]))
    deployment = project.deployment("d")
    rng = np.random.default_rng(2)
    fitted = LogisticRegression().fit(rng.normal(size=(100, 3)), np.arange(100) % 2)
    rows = drawn(20).select("at", "x").with_columns(who=pl.lit("w"))
    answering = Answering(pin_signature(project, deployment, {}), "binary", 2)
    engine = lambda: load(skops.io.dumps(fitted), "skops")  # noqa: E731 - it is changed by each use
    rows.write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(Misconfigured, match=r"has no column v\.n"):
        read_reference(tmp_path / "rows.parquet", "at", deployment, answering, engine())
    m = np.where(np.arange(len(rows)) % 4 == 0, None, 5.0).tolist()
    rows.with_columns(pl.lit(3.0).alias("v.n"), pl.Series("v.m", m)).write_parquet(tmp_path / "rows.parquet")
    found = read_reference(tmp_path / "rows.parquet", "at", deployment, answering, engine()).reference
    _, n, m = found.columns
    assert (n.name, n.low, n.most_missing) == ("v.n", 3.0, None)
    # A default that stands for a missing value is no null of the row, and counted by itself.
    assert (m.name, m.low, m.high, m.null_share, m.most_missing) == ("v.m", 3.0, 5.0, 0.0, 0.25)


def test_nulls_and_drift_within_range_are_found_without_any_label(tmp_path: Path) -> None:
    reference = described(filled(drawn(40)), tmp_path).reference
    references = References()
    place = ArtifactPlace("a" * 64, 0, 1, 1)
    references.add(
        VersionRegistered(
            "d", "d", 1, place, "m", ANSWERING.signature, "binary", (), Lineage(), {}, (), "", 1, "t", 0.0, "c",
            reference=reference,
        )
    )  # fmt: skip
    watch = InputWatch("d", DAY, "inference.decisions.v1", references)
    opened: list[FindingOpened] = []
    held: dict[str, FindingOpened] = {}
    live = drawn(3, seed=9, shift=1.0, null_share=0.5)
    codes = {word: float(code) for code, word in enumerate(WORDS["c"])}
    for n, (_, x, y, c, _) in enumerate(live.iter_rows()):
        at_s = BEGIN + 40 * DAY + n * HOUR / PER_HOUR
        row = np.array([x, np.nan if y is None else y, codes[c]], np.float32)
        made = DecisionMade(
            f"r{n}", "d", f"u{n}", at_s, Served(Score(1, "m", 0.5)), n, row.tobytes(), ANSWERING.signature.digest
        )
        watch.add(made, at_s // DAY * DAY, 0, n)
        if n % PER_HOUR == PER_HOUR - 1:
            for found in watch.look(at_s + 1, at_s + 1, at_s + 1, held).opened:
                held[key_of(found)] = found
                opened.append(found)
    (nulls,) = [one for one in opened if one.kind == "contract"]
    assert (nulls.about, nulls.detector, nulls.evidence is not None) == ("inputs.y", "null", True)
    assert nulls.at_s <= BEGIN + 40 * DAY + 3 * HOUR
    moved = next(one for one in opened if one.kind == "inputs")
    assert "x" in moved.summary
