"""Simulated rollouts on recorded traffic: what becomes of versions that are as good, worse and broken."""

import json
import math

import numpy as np
import pytest
from msgspec.structs import replace
from tests.cases.recorded_traffic import DAY_S, HOUR_S, START_S, deployment, of_classes, of_numbers, plan, recorded

from headrace.errors import Misconfigured
from headrace.events.definition import GuardrailDefinition
from headrace.project import Canary
from headrace_cli.simulation.recorded import Recorded
from headrace_cli.simulation.report import Report
from headrace_cli.simulation.running import simulated
from headrace_cli.simulation.sample import judging_of, sample_of
from headrace_cli.simulation.simulating import Row, Simulated, simulate

BINARY = [
    "the same scores", "a jittered twin", "worse by 0.02 (the margin)", "worse by 0.04 (twice it)",
    "20% of the ranking lost (half the limit)", "labels shuffled", "labels flipped", "p squared",
]  # fmt: skip


def done(found: Recorded, runs: int = 40, window_cycles: float | None = None, **fields: object) -> Simulated:
    chosen = plan(**fields)  # type: ignore[arg-type]
    return simulate(found, sample_of(found, chosen), chosen, runs, window_cycles)


@pytest.fixture(scope="module")
def binary() -> dict[str, Row]:
    return {row.version: row for row in done(recorded(), window_cycles=3.0).rows}


def test_every_version_has_its_row_and_its_own_mistakes(binary: dict[str, Row]) -> None:
    assert list(binary) == BINARY
    mistakes = {
        name: (row.false_rollbacks is not None, row.wrong_promotions is not None) for name, row in binary.items()
    }
    assert [mistakes[name] for name in BINARY] == [
        (True, False), (True, False), (True, True), (False, True), (True, False), (False, True), (False, True),
        (False, True),
    ]  # fmt: skip


def test_a_version_that_is_as_good_is_promoted_and_never_rolled_back(binary: dict[str, Row]) -> None:
    same, twin = binary["the same scores"], binary["a jittered twin"]
    assert (same.worse_by, same.skill_lost, same.passed.share, same.failed.share) == (0.0, 0.0, 1.0, 0.0)
    # NB: that they cannot differ is known before any label, after a hundred pairs: in the second block of sixty requests.
    assert same.decision.cycles == twin.decision.cycles == (0.5, 0.5)
    assert twin.passed.share == 1.0
    assert twin.false_rollbacks is not None
    assert twin.false_rollbacks.share == 0.0


def test_degraded_versions_are_worse_by_what_is_stated(binary: dict[str, Row]) -> None:
    assert binary["worse by 0.02 (the margin)"].worse_by == pytest.approx(0.02, abs=1e-4)
    assert binary["worse by 0.04 (twice it)"].worse_by == pytest.approx(0.04, abs=1e-4)
    assert binary["20% of the ranking lost (half the limit)"].skill_lost == pytest.approx(0.2, abs=0.01)


def test_broken_versions_are_rolled_back_within_hundreds_of_labels_by_ranking_or_gross(binary: dict[str, Row]) -> None:
    for name in ("labels shuffled", "labels flipped"):
        row = binary[name]
        assert row.failed.share == 1.0
        assert row.by["ranking"] + row.by["gross"] == pytest.approx(1.0)
        assert row.decision.labels[1] < 600
        assert row.wrong_promotions is not None
        assert row.wrong_promotions.share == 0.0
        assert row.in_window is not None
        assert row.in_window.share == 1.0


def test_rates_have_bounds_and_a_range_without_each_week(binary: dict[str, Row]) -> None:
    share = binary["worse by 0.04 (twice it)"].failed
    assert share.low <= share.share <= share.high
    assert share.without_a_week is not None
    assert 0 <= share.without_a_week[0] <= share.without_a_week[1] <= 1


def test_p_squared_within_the_margin_may_be_promoted() -> None:
    row = done(recorded(), margin=0.3).rows[-1]
    assert row.version == "p squared"
    assert (row.wrong_promotions, row.skill_lost) == (None, pytest.approx(0.0, abs=1e-9))


def test_a_shadow_on_the_log_is_simulated_on_its_own_requests() -> None:
    found = recorded()
    own = np.where(found.at_s < START_S + 8 * DAY_S, np.nan, found.scores).astype(np.float32)
    few = np.where(found.at_s < START_S + 18 * DAY_S, np.nan, found.scores).astype(np.float32)
    both = Recorded(*(getattr(found, name) for name in ("label", "at_s", "scores", "labels", "lag_s", "clock_s")), others={7: own, 9: few})  # fmt: skip
    row = done(both).rows[-1]
    assert (row.version, row.worse_by, row.false_rollbacks, row.wrong_promotions) == (
        "version 7 in shadow",
        0.0,
        None,
        None,
    )
    alone = Recorded(*(getattr(found, name) for name in ("label", "at_s", "scores", "labels", "lag_s", "clock_s")), others={9: few})  # fmt: skip
    assert [row.version for row in done(alone).rows] == BINARY


def test_several_classes_have_the_same_versions() -> None:
    rows = {row.version: row for row in done(of_classes()).rows}
    assert list(rows) == BINARY
    assert rows["labels shuffled"].failed.share == 1.0


def test_numbers_have_no_square_and_without_a_range_no_level() -> None:
    with_range, without = done(of_numbers()), done(of_numbers(None, None))
    assert [row.version for row in with_range.rows] == BINARY[:-1]
    names = [row.version for row in without.rows]
    assert names == ["the same scores", "a jittered twin", BINARY[4], "labels shuffled", "labels flipped"]
    assert math.isinf(without.judging.margin)
    assert [row.passed.share for row in without.rows] == [0.0] * 5
    assert without.rows[-1].by == {"ranking": 1.0, "gross": 0.0, "level": 0.0}


@pytest.mark.parametrize(("cycles", "is_indicative"), [(59, True), (60, False)])
def test_below_sixty_cycles_rates_are_indicative(cycles: int, is_indicative: bool) -> None:
    judging = sample_of(recorded(days=6), plan()).judging
    assert Simulated((), judging, cycles, 1_000, 20).is_indicative == is_indicative


def test_a_report_is_json_without_infinities_and_a_table_of_texts() -> None:
    found = recorded(days=12, missing=0.1)
    chosen = plan("blue_green", margin=0.02, rollback_window_s=8 * DAY_S)
    report = simulated(deployment(Canary()), chosen, found, 20)
    values = json.loads(json.dumps(report.values(), allow_nan=False))
    assert (values["indicative"], values["cycles"], values["window_cycles"]) == (True, 12, 7.0)
    assert values["missing_share"] == pytest.approx(0.1, abs=0.02)
    assert report.head.startswith("d: INDICATIVE: below 60 cycles; 12 independent cycles of 1d with ")
    (same, *_) = report.rows()
    assert (same["version"], same["promoted"][:5], same["false_rollbacks"][:3]) == ("the same scores", "100 %", "0 %")
    assert report.columns[-1] == "in_window"
    assert Report("d", found, report.simulated, 0.0, None).columns[-1] == "labels"


def test_progress_reaches_the_end_by_the_names_of_the_versions() -> None:
    seen: list[tuple[float, str]] = []
    found = recorded(days=8)
    simulate(found, sample_of(found, plan()), plan(), 20, None, lambda share, text: seen.append((share, text)))
    assert [text for _, text in seen] == [*BINARY, "done"]
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)
    assert seen[-1][0] == 1.0


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (recorded(days=0), "no version of d has answered a request yet"),
        (recorded(days=6, missing=1.0), "none of the 1,440 answers of d on the log has a label: write outcomes"),
        (
            recorded(days=3),
            "d: the log holds 3 whole cycles of 1d with labels, and 5 are needed: wait for more, or try a",
        ),
    ],
)
def test_too_little_is_refused_with_the_way_out(found: Recorded, message: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        simulated(deployment(Canary()), plan(), found, 20)
    assert str(refused.value).startswith(message)


def test_only_whole_cycles_with_labels_count_and_pauses_take_no_room() -> None:
    found = recorded(days=8)
    kept = (found.at_s >= START_S + 12 * HOUR_S) & ~(
        (found.at_s >= START_S + 3 * DAY_S) & (found.at_s < START_S + 5 * DAY_S)
    )
    paused = Recorded(found.label, found.at_s[kept], found.scores[kept], found.labels[kept], found.lag_s[kept], found.clock_s)  # fmt: skip
    sample = sample_of(paused, plan())
    assert sample.cycles == 5
    assert sample.record.at_s.max() < 5 * DAY_S
    assert np.diff(sample.weeks).min() >= 0


def test_requests_whose_labels_may_still_come_are_left_out() -> None:
    found = recorded(days=8)
    young = Recorded(found.label, found.at_s, found.scores, found.labels, found.lag_s, found.at_s[-1])
    assert sample_of(young, plan()).cycles == 7
    assert sample_of(young, plan(label_delay_s=3 * HOUR_S)).cycles == 8


def test_the_newest_cycles_are_taken_where_not_all_are() -> None:
    found = recorded(days=20)
    sample = sample_of(found, plan(), 6)
    assert sample.cycles == 6
    assert found.at_s[sample.rows[0]] == START_S + 14 * DAY_S


def test_blocks_are_coarser_where_they_are_asked_to_be() -> None:
    found = recorded(days=8)
    hourly = plan(block_s=HOUR_S)
    assert sample_of(found, hourly).judging.block_s == HOUR_S
    assert sample_of(found, hourly, least_block_s=3 * HOUR_S).judging.block_s == 3 * HOUR_S
    assert sample_of(found, plan(block_s=60.0)).judging.block_s == DAY_S / 160
    assert sample_of(found, plan(block_s=HOUR_S, season_s=None)).judging.cycle_s == HOUR_S


def test_where_no_guardrail_can_roll_back_labels_have_all_of_alpha_as_in_a_real_rollout() -> None:
    rail = GuardrailDefinition("errors", 0.002)
    for rails, alpha in (((rail,), 0.025), ((replace(rail, dry_run=True),), 0.05), ((), 0.05)):
        assert judging_of(plan(alpha=0.05, guardrails=rails)).alpha == alpha
