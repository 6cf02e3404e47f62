"""Which facts of a run are published, and which reports of progress are worth one: decisions on values."""

from typing import Any

import pytest

from headrace.events.registry import ArtifactPlace, GateResult, RegisterVersion, Signature
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainCoalesced,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.hosting.runs import AttemptBegan
from headrace_trainer.core.progress import ProgressFacts
from headrace_trainer.core.run_facts import MAX_FACTS, RunFacts

ACCEPTED = RetrainAccepted("d", "run-1", "q", "manual", "because", 7.0)
COMMAND = RegisterVersion("d", "m", ArtifactPlace("a" * 64, 0, 1, 1), "digest", Signature((), ""))
FINISHED = TrainingFinished("d", "run-1", "registered", "")


def progress(share: float, stage: str = "rows") -> TrainingProgressed:
    return TrainingProgressed("d", "run-1", stage, share)


def published(facts: RunFacts, *entries: Any) -> list[tuple[str, Any]]:
    """The ids and events that these entries publish."""
    return [(fact.id, fact.event) for entry in entries for fact in facts.on_entry(ACCEPTED, entry).facts]


def under_way() -> RunFacts:
    facts = RunFacts()
    (accepted,) = facts.on_answer(ACCEPTED).facts
    assert accepted.event == ACCEPTED
    return facts


def test_entries_of_a_journal_that_is_read_again_publish_nothing_again() -> None:
    gate = GateJudged("d", "run-1", GateResult("beats_prior", "PASS", 1.0, 0.0, "m"))
    facts, entries = under_way(), [AttemptBegan(1, 7), progress(0.1), gate, AttemptBegan(2, 8), progress(0.1), gate]
    assert [event for _, event in published(facts, *entries)] == [progress(0.1), gate]
    assert published(facts, *entries) == []


def test_the_command_waits_for_the_last_fact_and_leaves_before_it_at_the_clock_of_the_run() -> None:
    facts = under_way()
    assert facts.on_entry(ACCEPTED, COMMAND).facts == ()
    command, finished = facts.on_entry(ACCEPTED, FINISHED).facts
    assert (command.event, command.at_s) == (COMMAND, 7.0)
    assert (finished.event, finished.at_s) == (FINISHED, None)
    assert facts == RunFacts()


def test_a_history_that_is_folded_leaves_the_state_that_published_it() -> None:
    one, other = under_way(), RunFacts()
    other.apply(ACCEPTED, next(iter(one.published["run-1"])))
    for ident, event in published(one, progress(0.1), progress(0.2)):
        other.apply(event, ident)
    assert one == other


def test_of_a_run_that_writes_without_end_only_its_end_is_still_published() -> None:
    facts = under_way()
    assert len(published(facts, *(progress(n / 5_000) for n in range(5_000)))) == MAX_FACTS
    assert facts.on_answer(RetrainCoalesced("d", "run-1", "r2")).facts == ()
    assert [event for _, event in published(facts, FINISHED)] == [FINISHED]


def test_an_answer_has_an_id_of_its_request() -> None:
    (one,), (again,) = (RunFacts().on_answer(RetrainCoalesced("d", "run-1", "r2")).facts for _ in range(2))
    assert one.id == again.id != RunFacts().on_answer(RetrainCoalesced("d", "run-1", "r3")).facts[0].id


@pytest.mark.parametrize(
    ("reports", "facts"),
    [
        ([(0.0, "rows", 0.0)], [True]),
        ([(0.0, "rows", 0.0), (0.5, "rows", 0.5)], [True, False]),
        ([(0.0, "rows", 0.0), (1.5, "rows", 0.005)], [True, False]),
        ([(0.0, "rows", 0.0), (1.5, "rows", 0.01)], [True, True]),
        ([(0.0, "rows", 0.5), (1.5, "rows", 0.505), (2.0, "rows", 0.49)], [True, False, True]),
        ([(0.0, "rows", 0.0), (0.1, "fit", 0.5), (0.2, "rows", 0.0)], [True, True, True]),
        ([(0.0, "rows", 0.0), (0.9, "rows", 0.4), (1.1, "rows", 0.4)], [True, False, True]),
    ],
)
def test_a_report_is_a_fact_with_a_new_stage_or_once_a_second_with_a_larger_share(
    reports: list[tuple[float, str, float]], facts: list[bool]
) -> None:
    found = ProgressFacts()
    assert [found.is_fact(progress(share, stage), at_s) for at_s, stage, share in reports] == facts
