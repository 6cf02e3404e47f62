"""What `headrace model recall` writes, and what `headrace decision remake` says of many decisions."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from headrace.evidence.recalled import Recalled, Summary
from headrace.evidence.remade import NONE, SAME, Part, Remade
from headrace_cli.commands import decision, recall
from headrace_cli.main import run

ROW = Recalled("r1", "u", "2013-04-01T00:00:00Z", "Served", 0.75, "1", "0.0", "t", 1, 7, 2, 0.25, "0", True)
GONE = Recalled("r2", 'a "u", b', "2013-04-02T00:00:00Z", "FellBack", 0.5, None, None, "t", 0, 8, 2, why_not="gone")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_of_recalled_decisions_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    with recall.written(tmp_path / name) as add:
        add([ROW])
        add([GONE])
    read = pl.read_parquet if name.endswith("parquet") else pl.read_csv
    found = read(tmp_path / name)
    assert found.columns == list(recall.COLUMNS)
    assert found["unit"].to_list() == ["u", 'a "u", b']
    assert found["new_value"].to_list() == [0.25, None]
    assert found["flips"].to_list() == [True, None]
    assert found["offset"].to_list() == [7, 8]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_not_there_before_everything_is_written(tmp_path: Path) -> None:
    def broken_off() -> None:
        with recall.written(tmp_path / "out.csv") as add:
            add([ROW])
            raise ZeroDivisionError

    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "before")]


async def batches_of(*batches: list[Recalled]) -> AsyncIterator[list[Recalled]]:
    for batch in batches:
        yield batch


def test_every_batch_is_in_the_file_and_in_the_summary(tmp_path: Path) -> None:
    summary = asyncio.run(recall.exported(batches_of([ROW], [GONE, GONE]), tmp_path / "out.csv"))
    assert (summary.decisions, summary.why_not) == (3, {"gone": 2})
    assert pl.read_csv(tmp_path / "out.csv")["request_id"].to_list() == ["r1", "r2", "r2"]


def test_no_file_is_written_for_a_version_that_has_made_no_decision(tmp_path: Path) -> None:
    summary = asyncio.run(recall.exported(batches_of(), tmp_path / "out.csv"))
    assert (summary, list(tmp_path.iterdir())) == (Summary(), [])
    (tmp_path / "out.csv").write_text("before")
    asyncio.run(recall.exported(batches_of(), tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == "before"
    said = recall.line_of({"version": 7, "with": 6, "file": None, **asdict(summary)})
    assert said == "version 7 has made no decision: no file is written"


def test_the_summary_counts_flips_and_why_others_were_not_decided_again() -> None:
    summary = Summary()
    summary.take([ROW, GONE])
    summary.take([GONE])
    assert (summary.decisions, summary.flips, summary.why_not) == (3, 1, {"gone": 2})
    assert (summary.first_at, summary.last_at) == ("2013-04-01T00:00:00Z", "2013-04-02T00:00:00Z")


def remade(**parts: Part) -> Remade:
    found = {"route": SAME, "step": SAME, "row": SAME, "score": NONE} | parts
    return Remade("d", "r", "t/0/0", "Served", 1, **found)


def test_the_summary_of_remade_decisions_names_what_differs_and_what_is_unknown() -> None:
    found = decision.summary([remade(), remade(row=Part("differs", "x")), remade(score=Part("unknown", "gone"))])
    assert (found["decisions"], found["same"], found["differs"], found["unknown"]) == (3, 1, 1, 1)
    assert found["parts"]["row"] == {"same": 2, "differs": 1}
    assert found["unknown_because"] == {"gone": 1}


def test_differences_are_printed_with_their_part_and_place(capsys: pytest.CaptureFixture) -> None:
    decision._show([remade(), remade(row=Part("differs", "x"))])
    printed = capsys.readouterr().out
    assert "row: x" in printed
    assert "1 of 2 decisions are the same, 1 differ, 0 cannot be made again" in printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("decision", "remake"), "name request ids, or give --last N, or --sample N"),
        (("decision", "remake", "r", "--last", "3"), "name request ids, or give --last N, or --sample N"),
        (("model", "recall", "d", "1", "--out", "x.json"), "x.json is neither CSV nor Parquet by its name"),
        (("model", "recall", "d", "1", "--out", "/nowhere/x.csv"), "there is no folder /nowhere"),
    ],
)
def test_wrong_words_get_one_sentence(capsys: pytest.CaptureFixture, words: tuple[str, ...], sentence: str) -> None:
    assert run(words) == 2
    assert sentence in capsys.readouterr().err
