"""Planted faults: how they are written, and what they change."""

import numpy as np
import pytest
from libs.backtest.tests.scene import BEGIN_S, DAY, stream

from headrace.errors import Misconfigured
from headrace.log.envelope import format_instant
from headrace_backtest.plants import instant_of, parse, planted, refuse_outside

DAY_3 = format_instant(BEGIN_S + 3 * DAY)
WITHIN = slice(3 * 20, 5 * 20)


def changed(text: str) -> tuple:
    before = stream(8, 20)
    return before, planted(before, [parse(f"{text}@{DAY_3}..2d")])


def test_a_share_of_labels_is_turned_around_and_the_same_ones_each_time() -> None:
    before, after = changed("flip=.5")
    turned = before.labels != after.labels
    assert not turned[: WITHIN.start].any()
    assert not turned[WITHIN.stop :].any()
    assert 8 <= turned[WITHIN].sum() <= 32
    assert (after.labels == changed("flip=.5")[1].labels).all()


def test_all_labels_are_turned_around() -> None:
    before, after = changed("flip=1")
    assert (after.labels[WITHIN] == 1 - before.labels[WITHIN]).all()


def test_columns_lose_their_values_or_change_their_unit() -> None:
    before, after = changed("null=a")
    assert np.isnan(after.matrix[WITHIN, 0]).all()
    assert (after.matrix[:, 1] == before.matrix[:, 1]).all()
    before, after = changed("scale=b:2")
    assert (after.matrix[WITHIN, 1] == 2 * before.matrix[WITHIN, 1]).all()
    assert (after.matrix[: WITHIN.start] == before.matrix[: WITHIN.start]).all()
    assert np.isnan(changed("null=*")[1].matrix[WITHIN]).all()


def test_answers_are_squared_and_labels_fall_silent() -> None:
    _, after = changed("power=2")
    assert after.answered(np.full(160, 0.5))[WITHIN].tolist() == [0.25] * 40
    assert after.answered(np.full(160, 0.5))[0] == 0.5
    _, after = changed("silent=1")
    assert not after.is_told[WITHIN].any()
    assert np.isnan(after.known_by(np.inf)[WITHIN]).all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flop=.3@2013-06-01", "a fault is written"),
        ("flip=.3", "a fault is written"),
        ("flip=30@2013-06-01", r"a share in 0\.\.1, got 30 \(percent\?\)"),
        ("flip=x@2013-06-01", "flip takes a number"),
        ("scale=1.6@2013-06-01", "scale=COLUMN:FACTOR"),
        ("power=-1@2013-06-01", "a number above 0"),
        ("flip=.3@June", "a day is written 2013-06-01"),
        ("flip=.3@2013-06-02..2013-06-01", "ends before it begins"),
    ],
)
def test_what_is_no_fault_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        parse(text)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match="no column is called 'c': rows have a, b"):
        changed("null=c")


@pytest.mark.parametrize(
    "text", ["flip=.3@2015-04-21", "flip=.3@2013-05-01", "flip=.3@2013-03-01..3d", "power=2@2013-03-30..2d"]
)
def test_a_fault_outside_what_is_replayed_is_refused(text: str) -> None:
    span = instant_of("2013-04-01"), instant_of("2013-05-01")
    inside = ["flip=.3@2013-03-01", "flip=.3@2013-03-30..3d", "flip=.3@2013-04-30T23:00..1h"]
    refuse_outside([parse(one) for one in inside], *span)
    with pytest.raises(
        Misconfigured, match="lies outside what is replayed, 2013-04-01T00:00:00Z to 2013-05-01T00:00:00Z"
    ):
        refuse_outside([parse(text)], *span)
