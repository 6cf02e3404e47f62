"""The matrix of composite models, calendars of equal count, and where a gain lies among them."""

import numpy as np
import pytest
from libs.backtest.tests.scene import BEGIN_S, DAY, build, champion, deployment, stream

from headrace_backtest.calendars import Composite, composite, drawn, grid_of, percentile, phases
from headrace_backtest.judging import place_of
from headrace_backtest.training import Trainer

AT_S = np.array([10.0, 20.0])
BY_HAND = Composite(
    AT_S, AT_S, np.array([[4.0, 6.0, 8.0], [0.0, 3.0, 5.0], [0.0, 0.0, 1.0]]), 10
)  # fmt: skip


def test_between_two_retrains_the_version_of_the_earlier_one_answers() -> None:
    never, first, second, both = [0, 0], [1, 0], [0, 1], [1, 1]
    chosen = np.array([never, first, second, both], dtype=bool)
    assert BY_HAND.totals(chosen).tolist() == [18.0, 4 + 3 + 5, 4 + 6 + 1, 4 + 3 + 1]
    assert BY_HAND.gains(chosen).tolist() == pytest.approx([0.0, 0.6, 0.7, 1.0])


def test_calendars_of_every_phase_retrain_equally_often_and_at_equal_distances() -> None:
    found = phases(10, 3)
    assert [np.flatnonzero(row).tolist() for row in found] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert phases(4, 0).sum() == phases(4, 5).sum() == 0


def test_random_calendars_are_drawn_without_repeats_and_again_by_their_seed() -> None:
    found = drawn(30, 4, 200, 1)
    assert found.sum(axis=1).tolist() == [4] * 200
    assert (found == drawn(30, 4, 200, 1)).all()
    assert (found != drawn(30, 4, 200, 2)).any()
    # each instant is as likely as any other: 200 x 4 / 30 = 26.7 times, within five standard errors
    assert np.abs(found.sum(axis=0) - 200 * 4 / 30).max() < 5 * np.sqrt(200 * (4 / 30) * (26 / 30))


def test_a_gain_among_equal_ones_lies_in_the_middle() -> None:
    assert (percentile(0.0, np.zeros(9)), percentile(-1.0, [0.0, 1.0])) == (50.0, 0.0)


def test_a_grid_has_whole_windows_and_keeps_its_bound() -> None:
    assert grid_of(0.0, 100 * DAY, DAY, 60).tolist() == [n * 2 * DAY for n in range(50)]
    assert len(grid_of(0.0, 0.5 * DAY, DAY)) == 1


def test_the_matrix_is_what_each_version_loses_when_it_answers_alone() -> None:
    history = stream(30, 40, turns=15)
    trainer = Trainer(history, deployment(), build)
    start, span = champion(trainer, BEGIN_S + 10 * DAY), (BEGIN_S + 10 * DAY, BEGIN_S + 30 * DAY)
    yardstick = trainer.target.yardstick(history.labels)
    grid_s, ready_s = grid_of(*span, DAY, 4), 3600.0
    found = composite(trainer, start, yardstick, grid_s, span[1], ready_s)
    judged = history.judged(*span)
    assert found.rows == judged.sum()
    newest = trainer.fit_all(float(grid_s[2]))
    assert newest is not None
    later = judged & (history.at_s >= grid_s[2] + ready_s)
    losses = yardstick.losses(newest(history.matrix[later]), history.labels[later])
    assert found.losses[3].sum() == pytest.approx(losses.sum())
    chosen = np.array([[False, False, True, False]])
    before = judged & ~later
    kept = yardstick.losses(start.scoring(history.matrix[before]), history.labels[before])
    assert found.totals(chosen)[0] == pytest.approx(kept.sum() + losses.sum())


def test_a_policy_is_placed_by_its_gain_and_by_its_instants_alone() -> None:
    # both calendars of one retrain gain .6 and .7
    best, worst = place_of(0.9, [15.0], BY_HAND), place_of(0.1, [5.0], BY_HAND)
    assert (best.among_phases, best.among_random, best.phases) == (100.0, 100.0, 2)
    assert worst.among_phases == worst.among_random == 0.0
    # the instant at 15 is the second of the grid, which is the better one; half of what equals it counts as lower
    assert 70 < best.by_timing < 80
    assert 20 < worst.by_timing < 30
    assert place_of(0.0, [25.0], BY_HAND).by_timing == 50.0
