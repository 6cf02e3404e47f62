"""Simulated rollouts: in the order of the record they are judged exactly as a real one is, request by request."""

import math

import numpy as np
import pytest

from headrace.stats import trials
from headrace.stats.gross import GrossTest
from headrace.stats.level import level
from headrace.stats.ranking import RankingTest
from headrace.stats.scores import constant_score, differences
from headrace.stats.trials import NEVER, Table, Traffic, Trials, draw_cycles, judge, tabulate, tabulate_blocks

CYCLE_S, BLOCK_S, LIMIT = 4.0, 1.0, 0.4
BLOCKS = 4


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def binary(cycles: int = 30, *, worse: float = 0.0, seed: int = 1) -> Traffic:
    """Ten requests a block; `worse`: noise on the new version's log-odds."""
    dice = rng(seed)
    count = cycles * BLOCKS * 10
    inner = dice.normal(-0.5, 1.5, count)
    labels = (dice.random(count) < 1 / (1 + np.exp(-inner))).astype(float)
    scores = [1 / (1 + np.exp(-(inner + spread * dice.normal(size=count)))) for spread in (worse, 0.2)]
    return Traffic("binary", np.arange(count) / 10, labels, *scores)


def classes(cycles: int = 20) -> Traffic:
    dice = rng(2)
    count = cycles * BLOCKS * 10
    labels = dice.integers(0, 3, count).astype(float)
    good = np.full((count, 3), 0.2)
    good[np.arange(count), labels.astype(int)] = 0.6
    return Traffic("classes", np.arange(count) / 10, labels, dice.permutation(good), good)


def numbers(cycles: int = 20) -> Traffic:
    dice = rng(3)
    labels = dice.random(cycles * BLOCKS * 10)
    return Traffic("number", np.arange(len(labels)) / 10, labels, 1 - labels, np.clip(labels + 0.1, 0, 1))


def table_of(traffic: Traffic) -> Table:
    return tabulate(traffic, CYCLE_S, BLOCK_S, LIMIT)


def in_order(table: Table) -> np.ndarray:
    """One run: the record itself."""
    return np.arange(table.cycles)[None, :]


def by_hand(traffic: Traffic, alpha: float = 0.025) -> tuple[float, float, float, float]:
    """Blocks and labels until the tests of a real rollout fail: of ranking, and of gross."""
    ranking, gross = RankingTest(traffic.kind, traffic.classes, LIMIT, BLOCKS), GrossTest()
    found = [NEVER] * 4
    for block in range(int(traffic.at_s[-1]) + 1):
        rows = (traffic.at_s >= block) & (traffic.at_s < block + 1)
        scores = traffic.new[rows], traffic.control[rows], traffic.labels[rows]
        ranking.take(block, *scores)
        gross.take(differences(traffic.kind, *scores).seen)
        if math.isinf(found[0]) and ranking.has_failed(alpha * 0.4):
            found[0:2] = [block + 1, ranking.labels]
        if math.isinf(found[2]) and gross.has_failed(alpha * 0.1):
            found[2:4] = [block + 1, gross.labels]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize("traffic", [binary(worse=9.0), binary(worse=0.3), classes(), numbers()])
def test_the_record_in_its_order_fails_in_the_block_in_which_a_real_rollout_fails(traffic: Traffic) -> None:
    table = table_of(traffic)
    found = judge(table, in_order(table))
    figures = (found.ranking_failed, found.ranking_labels, found.gross_failed, found.gross_labels)
    assert tuple(float(one[0]) for one in figures) == by_hand(traffic)


def test_broken_versions_fail_early_and_good_ones_do_not() -> None:
    assert by_hand(numbers())[0] < 12
    assert by_hand(classes())[0] < 20
    assert by_hand(binary(worse=0.3)) == (NEVER,) * 4


def test_the_level_is_looked_at_when_a_cycle_ends_once_there_are_enough() -> None:
    traffic = binary(worse=0.8)
    table = table_of(traffic)
    seen = differences("binary", traffic.new, traffic.control, traffic.labels).seen.reshape(30, -1).sum(axis=1)
    for margin in (-0.02, 0.001, 0.2):
        looks = [level(np.full(n, 40.0), seen[:n]) for n in range(7, 31)]
        failed = [7.0 + n for n, one in enumerate(looks) if one.low(0.0125) > margin]
        passed = [7.0 + n for n, one in enumerate(looks) if one.high(0.05) < margin]
        found = judge(table, in_order(table), margin, min_cycles=7)
        assert found.level_failed[0] == min(failed, default=NEVER)
        assert found.passed[0] == min(passed, default=NEVER)


def test_a_loss_of_ranking_that_may_be_over_its_limit_is_no_pass() -> None:
    table = table_of(binary(worse=0.3))
    assert np.isfinite(judge(table, in_order(table), 0.9).passed[0])
    strict = tabulate(binary(worse=0.3), CYCLE_S, BLOCK_S, 0.0)
    assert strict.difference < 0.05
    assert judge(strict, in_order(strict), 0.9).passed[0] == NEVER


def test_too_few_labels_of_the_rarer_class_are_no_pass() -> None:
    traffic = binary()
    few = np.where(np.cumsum(traffic.labels) <= 19, traffic.labels, 0.0)
    table = table_of(Traffic("binary", traffic.at_s, few, traffic.control, traffic.control))
    assert judge(table, in_order(table), 0.9).passed[0] == NEVER
    enough = np.where(np.cumsum(traffic.labels) <= 20, traffic.labels, 0.0)
    table = table_of(Traffic("binary", traffic.at_s, enough, traffic.control, traffic.control))
    assert judge(table, in_order(table), 0.9).passed[0] == 14


@pytest.mark.parametrize("traffic", [binary(worse=1.5), classes(), numbers()])
def test_the_default_margin_is_made_of_the_labels_at_each_look(traffic: Traffic) -> None:
    table = table_of(traffic)
    places = (traffic.labels * 50).astype(int) if traffic.kind == "number" else traffic.labels.astype(int)
    found = differences(traffic.kind, traffic.new, traffic.control, traffic.labels)
    sums = found.seen.reshape(table.cycles, -1).sum(axis=1)
    failed = []
    for look in range(7, table.cycles + 1):
        constant = constant_score(traffic.kind, np.bincount(places[: 40 * look]))
        margin = min(0.01, 0.1 * (constant - found.control[: 40 * look].mean()))
        failed += [look] if level(np.full(look, 40.0), sums[:look]).low(0.0125) > margin else []
    assert judge(table, in_order(table), min_cycles=7).level_failed[0] == failed[0]


def test_a_control_that_is_no_better_than_a_constant_leaves_no_margin_and_the_level_decides_nothing() -> None:
    traffic = binary()
    constant = np.full(len(traffic.labels), traffic.labels.mean() + 0.01)
    table = table_of(Traffic("binary", traffic.at_s, traffic.labels, constant + 0.4, constant))
    found = judge(table, in_order(table))
    assert (found.passed[0], found.level_failed[0]) == (NEVER, NEVER)
    assert np.isfinite(judge(table, in_order(table), 0.005).level_failed[0])


def test_blocks_that_are_made_one_by_one_give_the_same_table() -> None:
    traffic = binary(4)
    blocks = (
        (traffic.new[n : n + 10], traffic.control[n : n + 10], traffic.labels[n : n + 10]) for n in range(0, 155, 10)
    )
    found, whole = tabulate_blocks("binary", 2, blocks, BLOCKS, LIMIT), table_of(traffic)
    assert found.cycles == 4
    assert found.differences.tolist() == whole.differences.tolist()
    assert found.warm.wealth.tolist() == whole.warm.wealth.tolist()
    few = [(np.array([0.5]), np.array([0.2]), np.array([1.0]))] * 7
    assert tabulate_blocks("binary", 2, few, BLOCKS, LIMIT).requests.tolist() == [[1.0] * 4]


def test_the_sums_of_a_table_are_those_of_its_blocks() -> None:
    labels, new, control = (np.array(values) for values in ([1.0, 0.0, 1.0, 0.0], [0.5, 0.5, 1.0, 0.0], [0.0] * 4))
    table = tabulate(Traffic("binary", np.array([2.0, 2.5, 3.0, 5.9]), labels, new, control), 2.0, 1.0, LIMIT)
    assert (table.cycles, table.blocks) == (2, 2)
    assert table.requests.tolist() == [[2, 1], [0, 1]]
    assert table.counts.tolist() == [[[1, 1], [0, 1]], [[0, 0], [1, 0]]]
    assert table.differences.tolist() == [[-0.75 + 0.25, -1.0], [0.0, 0.0]]
    assert table.control.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert table.difference == -1.5 / 4


def test_cycles_are_those_of_the_span_and_only_whole_ones() -> None:
    traffic = binary(3)
    assert tabulate(traffic, 4.0, 1.0, LIMIT, (1.0, 10.0)).requests.tolist() == [[10] * 4] * 2
    assert tabulate(traffic, 4.0, 1.0, LIMIT, (-2.0, 6.0)).requests.tolist() == [[0, 0, 10, 10], [10] * 4]
    nothing = np.empty(0)
    assert tabulate(Traffic("binary", nothing, nothing, nothing, nothing), 4.0, 1.0, LIMIT).cycles == 0


def test_the_first_cycle_of_a_run_has_nothing_before_it() -> None:
    table = table_of(binary(5))
    assert table.cold.weights[:, 0].tolist() == [0.0] * 5
    assert (table.warm.weights[1:, 0] > 0).all()
    assert table.warm.wealth[0].tolist() == table.cold.wealth[0].tolist()


def test_requests_out_of_order_and_without_labels_are_refused() -> None:
    one, two = np.array([1.0, 0.0]), np.array([0.0, np.nan])
    with pytest.raises(ValueError, match="in order of at_s"):
        Traffic("binary", one, one, one, one)
    with pytest.raises(ValueError, match="labels must be known"):
        Traffic("binary", one[::-1], two, one, one)


def test_drawn_cycles_go_on_in_stretches_and_wrap_around() -> None:
    drawn = draw_cycles(rng(), 400, 50, 10, mean_stretch=5)
    goes_on = (np.diff(drawn, axis=1) % 10) == 1
    # A fresh stretch goes on by chance in one of ten cases.
    assert goes_on.mean() == pytest.approx(0.8 + 0.2 / 10, abs=0.01)
    assert np.bincount(drawn.ravel()).tolist() == pytest.approx([2000] * 10, rel=0.15)
    assert (drawn[:, :-1][goes_on].max(), drawn.shape) == (9, (400, 50))
    with pytest.raises(ValueError, match="no whole cycle"):
        draw_cycles(rng(), 1, 1, 0)


def test_runs_are_judged_alike_however_many_are_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(binary(worse=1.5))
    drawn = draw_cycles(rng(), 30, 20, table.cycles)
    whole = judge(table, drawn)
    monkeypatch.setattr(trials, "_RUNS", 7)
    parts = judge(table, drawn)
    assert np.isfinite(whole.failed).any()
    for name in ("passed", "level_failed", "ranking_failed", "gross_failed", "ranking_labels", "gross_labels"):
        assert getattr(whole, name).tolist() == getattr(parts, name).tolist()


def test_no_runs_give_no_outcome() -> None:
    table = table_of(binary(2))
    assert judge(table, np.empty((0, 5), dtype=int)).passed.tolist() == []
    assert judge(table, np.empty((3, 0), dtype=int)).passed.tolist() == [NEVER] * 3


def test_what_comes_first_decides_and_fail_wins_a_tie() -> None:
    found = Trials(
        passed=np.array([14, 14, 14, NEVER, NEVER, 20.0]),
        level_failed=np.array([NEVER, 14, 16, 30, NEVER, NEVER]),
        ranking_failed=np.array([NEVER, NEVER, NEVER, NEVER, NEVER, 8.0]),
        gross_failed=np.array([NEVER, NEVER, NEVER, NEVER, NEVER, 6.0]),
        ranking_labels=np.array([NEVER] * 5 + [800]),
        gross_labels=np.array([NEVER] * 5 + [600]),
        blocks=4,
    )
    assert found.is_passed().tolist() == [True, False, True, False, False, False]
    assert found.is_failed().tolist() == [False, True, False, True, False, True]
    assert found.is_failed(within=20).tolist() == [False, True, False, False, False, True]
    assert not found.is_passed(within=13).any()
    assert found.failed.tolist() == [NEVER, 14, 16, 30, NEVER, 1.5]
    assert found.labels_to_early.tolist() == [NEVER] * 5 + [600]
