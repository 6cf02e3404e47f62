"""What `headrace rollout status` reports of a rollout that no label can judge, and of one that ended."""

from typing import Any

import pytest
from msgspec.structs import replace

from headrace.events.registry import ApprovalAwaited, RolloutAborted, RolloutAdvanced, RolloutStarted, VersionApproved
from headrace.events.verdicts import UNMEASURED, Evidence
from headrace.registry.state import Registry
from headrace.testing.registry import CANARY, folded, verdict, version_of
from headrace_cli.evidence.rollouts import Board

UNLABELLED = {"labels": UNMEASURED, "unlabelled": True, "waiting_for": "labels", "cycles": 3}
APPROVE = 'a person to approve it: `headrace model approve d 2 --reason "..."` (no label can judge it)'


@pytest.mark.parametrize(
    ("plan", "facts", "waits_for"),
    [
        (CANARY, [], "its guardrails (labels: no label is declared)"),
        (CANARY, [ApprovalAwaited("d", "r1", 2, "r", 2.0)], APPROVE),
        (
            CANARY,
            [ApprovalAwaited("d", "r1", 2, "r", 2.0), VersionApproved("d", 2, "r", "ann")],
            "the next verdict: approved by ann",
        ),
        (CANARY, [VersionApproved("d", 2, "r", "ann")], "its guardrails (labels: no label is declared)"),
        (
            replace(CANARY, policy="ab_test", shares=(0.3,)),
            [],
            "a person: `headrace rollout promote d` or `headrace rollout abort d` (labels: no label is declared)",
        ),
    ],
)
def test_a_rollout_that_no_label_can_judge_reports_what_it_waits_for(plan: Any, facts: list, waits_for: str) -> None:
    board = Board()
    started = RolloutStarted("d", "r1", 2, plan.policy, "r", plan, 1)
    step = "testing" if plan.policy == "ab_test" else "canary"
    advanced = RolloutAdvanced("d", "r1", 2, step, 0.3, 0, 1.0)
    board.fold.state = folded(Registry(), [version_of(2), started, advanced, *facts])
    evidence = (Evidence("level", "label", UNMEASURED, detail="no label is declared"),)
    board.verdicts["r1"] = verdict(board.fold.state, 1.0, evidence=evidence, **UNLABELLED)
    (row,) = board.rows("d")
    assert (row["waits_for"], row["cycles"]) == (waits_for, 3)


def test_a_rollout_that_ended_undecided_waits_for_nothing_and_gives_its_reason() -> None:
    board = Board()
    started = RolloutStarted("d", "r1", 2, "canary", "r", CANARY, 1)
    ended = RolloutAborted("d", "r1", 2, "no label came", cause="undecided", clock_s=9.0)
    board.fold.state = folded(Registry(), [version_of(2), started, ApprovalAwaited("d", "r1", 2, "r", 2.0), ended])
    (row,) = board.rows("d")
    assert (row["state"], row["reason"], row["waits_for"]) == ("aborted", "no label came", None)
