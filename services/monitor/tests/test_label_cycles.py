"""What the labels of a rollout add up to, per block and cycle, by hand."""

import math

import numpy as np
import pytest

from headrace.stats.ranking import Ranked
from headrace.stats.scores import PARTS
from headrace_monitor.core.blocks import Known
from headrace_monitor.core.label_cycles import COLUMNS, MOST_CYCLES, Cycles, summed

NAN = float("nan")


def known(number: int, new, control, labels, missing: int = 0) -> Known:
    arrays = (np.array(values, dtype=float) for values in (new, control, labels))
    return Known(number, float(number), number + 1.0, *arrays, missing)


def one(number: int, new: float = 0.5, control: float = 0.5, label: float = 1.0) -> Known:
    return known(number, [new], [control], [label])


def sums_of(kind: str, block: Known, classes: int) -> tuple[dict[str, float], list[float]]:
    sums, counts = summed(kind, block, classes)
    return dict(zip(COLUMNS, sums.tolist(), strict=True)), counts.tolist()


def ranks(weight: list[float], loss: list[float], skill: list[float]) -> Ranked:
    return Ranked(np.array(weight), np.array(loss), np.array(skill))


# a block


def test_the_sums_of_probabilities() -> None:
    sums, counts = sums_of("binary", known(3, [0.9, 0.6, 0.7], [0.8, 0.3, 0.4], [1, 0, NAN], 4), 2)
    assert sums == {
        "rows": 3.0,
        "labelled": 2.0,
        "seen": pytest.approx((0.01 - 0.04) + (0.36 - 0.09)),
        "low": pytest.approx(0.09 - 0.36),
        "high": pytest.approx(0.49 - 0.16),
        "control": pytest.approx(0.04 + 0.09),
        "missing": 4.0,
        "log_new": pytest.approx(-math.log(0.9) - math.log(0.4)),
        "log_control": pytest.approx(-math.log(0.8) - math.log(0.7)),
    }
    assert counts == [1.0, 1.0]


def test_the_sums_of_several_classes() -> None:
    new, control = [[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]
    sums, counts = sums_of("classes", known(0, new, control, [0, 2]), 3)
    assert sums["control"] == pytest.approx((0.25 + 0.09 + 0.04) / 2 + (0.04 + 0.04 + 0.16) / 2)
    assert sums["seen"] == pytest.approx((0.09 + 0.04 + 0.01) / 2 - (0.25 + 0.09 + 0.04) / 2)
    assert (sums["low"], sums["high"], sums["missing"]) == (0.0, 0.0, 0.0)
    assert (sums["log_new"], sums["log_control"]) == pytest.approx((-math.log(0.7 * 0.6), -math.log(0.5 * 0.6)))
    assert counts == [1.0, 0.0, 1.0]


def test_the_sums_of_numbers() -> None:
    sums, counts = sums_of("number", known(0, [0.5, 0.9, 0.1], [0.2, 0.5, 0.3], [0.3, 1.0, NAN]), 0)
    assert sums == {
        "rows": 3.0,
        "labelled": 2.0,
        "seen": pytest.approx((0.2 - 0.1) + (0.1 - 0.5)),
        "low": pytest.approx(-0.2),
        "high": pytest.approx(0.2),
        "control": pytest.approx(0.1 + 0.5),
        "missing": 0.0,
        "log_new": pytest.approx(0.04 + 0.01),
        "log_control": pytest.approx(0.01 + 0.25),
    }
    # .3 lies in part 19 of 64; the end of the range belongs to the last one, and what lies before it to the first.
    assert [part for part, count in enumerate(counts) if count] == [19, 63]
    assert sums_of("number", known(0, [0.5], [0.5], [-0.1]), 0)[1] == [1.0, *[0.0] * (PARTS - 1)]


def test_a_failure_has_the_worst_score_and_no_log_loss() -> None:
    sums, _ = sums_of("binary", known(0, [NAN, 0.9, 0.5], [0.8, NAN, 0.5], [1, 1, 1]), 2)
    assert sums["seen"] == pytest.approx((1 - 0.04) + (0.01 - 1) + 0)
    assert (sums["log_new"], sums["log_control"]) == pytest.approx((math.log(2), math.log(2)))
    several, _ = sums_of("classes", known(0, [[NAN, NAN], [0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8]], [1, 1]), 2)
    assert (several["log_new"], several["log_control"]) == pytest.approx((math.log(2), -math.log(0.8)))


def test_a_block_without_pairs_has_only_missing_ones() -> None:
    sums, counts = summed("binary", known(0, [], [], [], 7), 2)
    assert sums.tolist() == [7.0 if name == "missing" else 0.0 for name in COLUMNS]
    assert counts.tolist() == [0.0, 0.0]


# cycles


def test_the_first_block_begins_the_first_cycle() -> None:
    cycles = Cycles("binary", 2, 24)
    assert cycles.anchor is None
    assert [cycles.cycle_of(block) for block in (100, 123, 124, 148, 99, 76, 75)] == [0, 0, 1, 2, -1, -1, -2]
    assert (cycles.anchor, cycles.end_of(0), cycles.end_of(2)) == (100, 124, 172)


def test_the_next_cycle_is_the_first_one_with_a_block() -> None:
    cycles = Cycles("binary", 2, 2)
    assert cycles.first_after(-1) is None
    for block in (10, 11, 16):
        cycles.add_ranks(block, ranks([], [], []), 0.4)
    assert [cycles.first_after(cycle) for cycle in (-1, 0, 2, 3)] == [0, 3, 3, None]


def test_blocks_are_added_up_by_cycle() -> None:
    cycles = Cycles("binary", 2, 2)
    cycles.add_ranks(10, ranks([1.0, 0.5], [0.4, 0.2], [0.3, 0.1]), 0.4)
    cycles.add_ranks(11, ranks([0.5], [0.1], [0.2]), 0.4)
    for block in (known(10, [0.5, 0.5], [0.25, 0.5], [1, 0], 3), one(11, 0.75), one(12, 0.25, 0.5, NAN)):
        cycles.add(block)
    columns, counts = cycles.table(1, [])
    assert {name: columns[name].tolist() for name in ("rows", "labelled", "missing")} == {
        "rows": [3.0, 1.0],
        "labelled": [3.0, 0.0],
        "missing": [3.0, 0.0],
    }
    assert columns["seen"] == pytest.approx([(0.25 - 0.5625) + 0 + (0.0625 - 0.25), 0.0])
    assert columns["high"] == pytest.approx([0.0, 0.5625 - 0.25])
    assert columns["low"] == pytest.approx([0.0, 0.0625 - 0.25])
    assert columns["weight"].tolist() == [2.0, 0.0]
    assert columns["gain"] == pytest.approx([0.4 - 0.12 + 0.5 * (0.2 - 0.04) + 0.5 * (0.1 - 0.08), 0.0])
    assert counts.tolist() == [1.0, 2.0]


def test_open_blocks_count_at_a_look_and_are_not_kept() -> None:
    cycles = Cycles("binary", 2, 2)
    cycles.add(one(10))
    columns, counts = cycles.table(1, [one(11, label=0.0), one(12)])
    assert (columns["rows"].tolist(), counts.tolist()) == ([2.0, 1.0], [1.0, 2.0])
    columns, counts = cycles.table(1, [])
    assert (columns["rows"].tolist(), counts.tolist()) == ([1.0], [0.0, 1.0])
    assert cycles.first_after(0) is None


def test_a_look_takes_no_later_cycle_and_none_without_requests() -> None:
    cycles = Cycles("binary", 2, 1)
    assert {name: len(column) for name, column in cycles.table(5, [])[0].items()} == dict.fromkeys(
        (*COLUMNS, "weight", "gain"), 0
    )
    for block in (one(10), known(11, [], [], [], 2), one(12, 0.75), one(13)):
        cycles.add(block)
    assert cycles.table(2, [])[0]["rows"].tolist() == [1.0, 1.0]
    assert cycles.table(2, [])[0]["seen"] == pytest.approx([0.0, 0.0625 - 0.25])
    assert cycles.table(1, [])[0]["rows"].tolist() == [1.0]


def test_a_block_before_the_first_one_has_a_cycle_of_its_own() -> None:
    cycles = Cycles("binary", 2, 2)
    cycles.add(one(10))
    cycles.add(one(9, 0.75))
    assert cycles.table(0, [])[0]["seen"] == pytest.approx([0.0625 - 0.25, 0.0])
    assert (cycles.anchor, cycles.first_after(-2)) == (10, -1)


def test_of_very_many_cycles_the_newest_are_kept() -> None:
    cycles = Cycles("binary", 2, 1)
    for block in range(MOST_CYCLES + 3):
        cycles.add_ranks(block, ranks([float(block)], [0.0], [0.0]), 0.4)
    assert (len(cycles.state()["cycles"]), cycles.first_after(-1)) == (MOST_CYCLES, 3)
    # The labels of a block whose cycle is not kept any more count for the best constant, and for nothing else.
    cycles.add(one(1, label=0.0))
    assert (len(cycles.state()["cycles"]), cycles.first_after(-1)) == (MOST_CYCLES, 3)
    columns, counts = cycles.table(MOST_CYCLES + 3, [])
    assert (columns["rows"].tolist(), counts.tolist()) == ([], [1.0, 0.0])
    cycles.add(one(3))
    assert cycles.table(MOST_CYCLES + 3, [])[0]["weight"].tolist() == [3.0]


# the best constant


def test_the_gain_of_the_control_is_over_the_best_constant_answer() -> None:
    cycles = Cycles("binary", 2, 2)
    cycles.add(known(0, [0.5] * 4, [0.8, 0.2, 0.2, 0.9], [1, 0, 0, NAN]))
    columns, counts = cycles.table(0, [])
    assert cycles.gain_of_control(columns, counts) == pytest.approx((1 / 3) * (2 / 3) - 0.04)
    nothing = Cycles("binary", 2, 2)
    assert nothing.gain_of_control(*nothing.table(0, [])) is None


def test_numbers_are_counted_by_parts_of_their_range() -> None:
    cycles = Cycles("number", 0, 2)
    labels = [0.25, 0.5, 0.75, 1.0]
    cycles.add(known(0, labels, [0.25, 0.5, 0.7, 0.9], labels))
    columns, counts = cycles.table(0, [])
    assert (len(counts), np.flatnonzero(counts).tolist()) == (PARTS, [16, 32, 48, 63])
    # The median lies in the part of .5: the others are .25, .25 and .484375 away from it.
    assert cycles.gain_of_control(columns, counts) == pytest.approx((0.25 + 0.25 + 31 / 64) / 4 - (0.05 + 0.1) / 4)


@pytest.mark.parametrize(
    ("kind", "classes", "width"), [("binary", 0, 2), ("binary", 2, 2), ("classes", 5, 5), ("number", 0, 64)]
)
def test_there_is_a_count_for_every_class(kind: str, classes: int, width: int) -> None:
    assert Cycles(kind, classes, 1).counts.tolist() == [0.0] * width


# restarts


def test_it_goes_on_after_a_restart() -> None:
    def filled(cycles: Cycles, blocks: list[int]) -> Cycles:
        for block in blocks:
            cycles.add_ranks(block, ranks([1.0], [0.5], [0.25]), 0.4)
            cycles.add(one(block, 0.75, label=block % 2))
        return cycles

    first = filled(Cycles("binary", 2, 2), [10, 11, 13])
    again = Cycles("binary", 2, 2, first.state())
    assert (again.state(), again.anchor) == (first.state(), 10)
    filled(again, [14, 15])
    whole = filled(Cycles("binary", 2, 2), [10, 11, 13, 14, 15])
    assert again.state() == whole.state()
    assert first.state() != again.state()
    assert again.state()["cycles"] == [0.0, 1.0, 2.0]
    empty = Cycles("binary", 2, 2, Cycles("binary", 2, 2).state())
    assert (empty.anchor, empty.first_after(-1)) == (None, None)
    assert empty.state() == {"cycles": [], "sums": [], "counts": [0.0, 0.0], "anchor": []}
