"""Replays: which rows of a file are requests and outcomes, in which order they are played, and what is refused before a row is sent."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.project import Binary, Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace_cli.replay.figures import binned, interval
from headrace_cli.replay.history import History, Mapping
from headrace_cli.replay.ids import Ids, Rows
from headrace_cli.replay.played import Wanted
from headrace_cli.replay.spool import Asked, Known, Spool
from headrace_cli.tables.files import Table

NOW_S = 2e9
FULL = Mapping("unit", "at", "late", "known")


def declared(**changes: object) -> DeploymentDefinition:
    fields: dict = {
        "unit": "rider",
        "inputs": [Number("x", 0, 10), Category("city", nullable=True)],
        "label": Binary("late", "1h"),
        "fallback": [prior(0.5)],
    } | changes
    return compile_project(Project("p", [Deployment("d", **fields)])).deployment("d")


def history(
    tmp_path: Path, content: str, mapping: Mapping = FULL, deployment: DeploymentDefinition | None = None
) -> History:
    (tmp_path / "rows.csv").write_text(content)
    return History(Table(tmp_path / "rows.csv"), deployment or declared(), mapping, NOW_S)


def test_rows_become_requests_and_outcomes_in_order_of_time(tmp_path: Path) -> None:
    found = history(tmp_path, "unit,at,x,city,late,known\nb,200,2,Rome,1,260\na,100,1,,0,300\nc,250,3,,,\n")
    with closing(Spool(run_events=2)) as spool:
        counted = found.fill(spool, lambda rows: None)
        first, second = list(spool.events()), list(spool.events())
    assert first == second
    assert first == [
        Asked(100.0, 0, 2, "a", {"x": 1.0}),
        Asked(200.0, 0, 1, "b", {"x": 2.0, "city": "Rome"}),
        Asked(250.0, 0, 3, "c", {"x": 3.0}),
        Known(260.0, 0, 1, "b", 1.0, (0, 1)),
        Known(300.0, 0, 2, "a", 0.0, (0, 2)),
    ]
    assert (counted.rows, counted.bad, counted.labelled) == (3, 0, 2)


def test_a_label_may_be_known_some_time_after_its_request(tmp_path: Path) -> None:
    spool = Spool()
    found = history(tmp_path, "unit,at,x,late\na,100,1,1\n", Mapping("unit", "at", "late", "+2h"))
    counted = found.fill(spool, lambda rows: None)
    assert [event.time_s for event in spool.events()] == [100.0, 7300.0]
    assert counted.beyond == 1  # the horizon is an hour


def test_bad_rows_are_reported_with_their_line_and_the_others_are_sent(tmp_path: Path) -> None:
    rows = ["a,100,dear,,1,160", ",100,1,,1,160", "a,,1,,1,160", "a,100,1,,2,160", "a,900,1,,1,160", "a,100,1,,1,9e9"]
    spool = Spool()
    counted = history(tmp_path, "unit,at,x,city,late,known\n" + "\n".join([*rows, "a,100,99,,1,160"])).fill(
        spool, lambda rows: None
    )
    assert [line.split(": ", 1)[1] for line in counted.reasons] == [
        "x must be a number, got 'dear'",
        "unit is missing: a request needs a unit",
        "at is missing: a request needs an instant",
        "the label of 'late' must be 0 or 1, got 2.0",
        "its label is known 740 s before it is asked: is known right?",
    ]
    assert counted.reasons[0].startswith(f"{tmp_path}/rows.csv, line 2: ")
    # NB: a row that breaks the contract (99 is beyond 10) is played: a live one would come too.
    assert (counted.rows, counted.bad, spool.count) == (7, 6, 2)


@pytest.mark.parametrize(
    ("header", "mapping", "changes", "expected"),
    [
        (
            "unit,at,y",
            Mapping("unit", "at"),
            {},
            "has no column for the input x of d; its other columns are y: rename the right column, or declare the input nullable",
        ),
        ("unit,when,x", Mapping("unit", "at"), {}, "has no column at"),
        ("unit,at,x,late", Mapping("unit", "at", "late"), {}, "--label needs --known: the column of the instant"),
        ("unit,at,x", Mapping("unit", "at", None, "+1h"), {}, "give --label COLUMN too"),
        (
            "unit,at,x,late",
            Mapping("unit", "at", "late", "+1 hour"),
            {},
            "--known takes a column, or a duration such as +1h",
        ),
        ("unit,at,x,late", Mapping("unit", "at", "late", "+1h"), {"label": None}, "d declares no label"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_a_row_is_read(
    tmp_path: Path, header: str, mapping: Mapping, changes: dict, expected: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        history(tmp_path, f"{header}\n", mapping, declared(**changes))
    assert expected in str(caught.value)


def test_absent_and_surplus_columns_are_reported(tmp_path: Path) -> None:
    found = history(tmp_path, "unit,at,x,why,late,known\n")
    assert list(found.notes()) == [
        "inputs without a column, sent as missing: city",
        "columns that are not inputs, not used: why",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(None, "d", "d"), "give a FILE to replay, or --to NAME"),
        (Wanted(None, "d", "e", unit="u"), "--unit names columns of a file"),
        (Wanted(Path("f.csv"), "d", "d"), "--unit and --at COLUMN must be given"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(wanted: Wanted, expected: str) -> None:
    with pytest.raises(Misconfigured, match=expected):
        wanted.refuse()


def test_ids_follow_from_deployment_file_and_run() -> None:
    ids = Ids.of("d", "digest", "", ("unit",))
    assert ids == Ids.of("d", "digest", "", ("unit",))
    others = [("e", "digest", ""), ("d", "other", ""), ("d", "digest", "again")]
    assert len({Ids.of(*words, ("unit",)).prefix for words in others} | {ids.prefix}) == 4
    for place in ((0, 1), (0, 2**31), (1, 0), (4, 77)):
        assert ids.place(ids.request(*place)) == (*place, False)
        assert ids.place(ids.outcome(*place)) == (*place, True)
    assert [ids.place(f"{ids.prefix}{tail}") for tail in ("", "x", "1.x", "-1", "1/other", "².1")] == [None] * 6


def test_a_set_of_rows_knows_what_it_holds() -> None:
    rows, rng = Rows(), np.random.default_rng(1)
    added: set[tuple[int, int]] = set()
    for shard, number in rng.integers((0, 0), (3, 5000), size=(4000, 2)).tolist():
        assert rows.add(shard, number) == ((shard, number) not in added)
        added.add((shard, number))
    assert rows.count == len(added)
    assert [(shard, n) in rows for shard in range(4) for n in range(5100)] == [
        (shard, n) in added for shard in range(4) for n in range(5100)
    ]


def test_a_difference_is_judged_by_days() -> None:
    at_s = np.repeat([0.0, 86_400.0, 172_800.0], 100)
    low, high = interval(np.repeat([0.1, 0.1, 0.1], 100), at_s) or (0, 0)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert interval(np.ones(5), np.zeros(5)) is None


def test_intervals_without_a_figure_are_gaps() -> None:
    assert binned(np.array([1.0, np.nan, 3.0]), np.array([0, 1, 0]), 3) == [2.0, None, None]
