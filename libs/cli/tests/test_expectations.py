"""What to expect of a rollout before it begins, from the deployment's own log."""

import json

import pytest
from tests.cases.recorded_traffic import DAY_S, deployment, recorded

from headrace.events.monitor import WindowClosed
from headrace.project import BlueGreen, Canary
from headrace.stats.planning import Harm, Outlook
from headrace_cli.projects.expectations import Expectations, expectations, plan_lines

WINDOWS = [WindowClosed("d", n * DAY_S, (n + 1) * DAY_S, 1000, 900, 0.2, "PASS") for n in range(9)]
WINDOWS += [WindowClosed("other", 0, DAY_S, 5, 5, 0.2, "PASS")]


def test_labels_a_day_are_those_of_the_deployments_newest_windows() -> None:
    found = expectations(deployment(Canary()), WINDOWS, "canary")
    assert (found.labels_a_day, found.requests_a_day) == (900.0, 1000.0)
    assert found.lines == ["labels a day: 900 of 1,000 requests; days to a decision by labels: 15 at the least"]


def test_nothing_is_made_up_before_the_first_window_and_the_first_answer() -> None:
    found = expectations(deployment(Canary()), [], "canary", recorded(days=0))
    assert (found.labels_a_day, found.harms, found.cycles) == (None, (), 0)
    assert found.lines == [
        "labels a day: not known yet (no window has closed); days to a decision by labels: 15 at the least",
        "which harm labels would find is not known yet: no version has answered a request",
    ]
    assert list(plan_lines(found)) == []


def test_with_few_cycles_their_number_is_given_and_no_harm() -> None:
    found = expectations(deployment(Canary()), [], "canary", recorded(days=4))
    assert found.cycles == 4
    assert found.lines[1] == (
        "which harm labels would find is not known yet: the log holds 4 whole cycles of 1d with labels, and 5 are needed"
    )


def test_harms_are_found_with_days_and_labels() -> None:
    plan = Canary(margin=0.01, min_cycles=5, ranking_limit=0.4, label_delay="12h")
    found = expectations(deployment(plan), WINDOWS, "canary", recorded())
    assert [(one.harm.measure, one.harm.size) for one in found.harms] == [
        ("AUC", 0.05), ("AUC", 0.1), ("level", 0.005), ("level", 0.01), ("level", 0.02)
    ]  # fmt: skip
    assert (found.cycles, found.most_cycles, found.delay_s) == (20, 60, 43_200.0)
    assert [bool(one.why_not) for one in found.harms] == [False, False, True, True, False]
    assert found.harms[1].labels <= found.harms[0].labels
    assert json.loads(json.dumps(found.values(), allow_nan=False))["cycles"] == 20
    ((part, text),) = plan_lines(found)
    assert (part, text[:42]) == ("finds", "by labels, from 20 cycles on the log: an A")


def test_harms_are_worded_by_whether_when_and_why_not() -> None:
    auc, level = Harm("AUC", 0.05), Harm("level", 0.02)
    harms = (Outlook(auc, 1.0, 2.5, 300.0), Outlook(level, 0.4), Outlook(level, why_not="it is within the margin"))
    found = Expectations("blue_green", 10.0, 12.0, 0.0, DAY_S, DAY_S, 4 * DAY_S, 9, 60, harms)
    assert found.finds == (
        "an AUC lower by 0.05 in about 3.5 days (300 labels); a score worse by 0.02 in 40% of 60 cycles;"
        " a score worse by 0.02 never (it is within the margin)"
    )
    late = Expectations("blue_green", 10.0, 12.0, 0.0, DAY_S, DAY_S, 3 * DAY_S, 9, 60, harms)
    assert "(300 labels, after the rollback window)" in late.finds
    assert late.values()["harms"][1]["cycles"] is None


def test_blue_green_switches_at_once_whatever_labels_show() -> None:
    found = expectations(deployment(BlueGreen()), WINDOWS, "blue_green")
    assert "as soon as the version is warm" in found.traffic
    assert found.window_s == 8 * DAY_S


def test_another_policy_is_planned_by_the_deployments_own_limits() -> None:
    assert expectations(deployment(BlueGreen()), WINDOWS, "canary").least_days == pytest.approx(15.0)
    assert expectations(deployment(Canary()), WINDOWS, "shadow").least_days == pytest.approx(21.0)
