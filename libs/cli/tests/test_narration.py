"""What the demo shows while it runs: the sentences of the timeline, once each, and nothing in them is markup."""

from rich.text import Text

from headrace.events.registry import RolloutAborted
from headrace.events.training import RetrainRefused
from headrace.events.verdicts import FAIL, PASS, Evidence
from headrace.testing.history import History
from headrace_cli.demo.narration import Narration


def narrated(history: History) -> tuple[Narration, list[str]]:
    """The narration, and its lines as they are read, without their time."""
    lines: list[str] = []
    narration = Narration("d", lambda line: lines.append(Text.from_markup(line).plain.partition("  ")[2]))
    for message in history.messages:
        narration.take(message)
    return narration, lines


def test_a_drift_is_told_from_the_finding_to_its_end() -> None:
    history = History()
    history.drift_to_switch()
    narration, lines = narrated(history)
    assert lines == [
        "finding (drift): log-loss of version 1 has risen",
        "retrain requested (drift) by monitor: the loss has risen - the replay waits",
        "accepted as run drun2",
        "gate parity PASS: .41, limit .69",
        "gate better PASS: .41, limit .69",
        "run drun2 trained on 101,600 rows in 41.0 s",
        "version 2 registered by trainer, trained on 101,600 rows",
        "version 2 is champion in place of version 1",
        "finding resolved (drift): log-loss is back: .421",
    ]
    assert (narration.begun, narration.ended, narration.refusals, len(narration.windows)) == (set(), {2}, [], 1)


def test_a_canary_is_told_step_by_step_and_its_evidence_line_by_line() -> None:
    history = History()
    rollout = history.rollout(2, "cli-1", "canary")
    for number in (0, 0, 1):
        history.step(rollout, 2, 0.05 if number == 0 else 0.25, number)
    found = (
        Evidence("loss", "label", FAIL, 0.2, 0.1, bound="over .1"),
        Evidence("errors", "guardrail", PASS, 0.0, 0.1),
    )
    history.add(RolloutAborted("d", rollout, 2, "labels show harm", True, found, history.at_s, "harm"))
    narration, lines = narrated(history)
    assert lines[1:3] == ["version 2 canary, 5% of units", "version 2 canary, 25% of units"]
    assert [line.strip() for line in lines[3].splitlines()] == [
        "version 2 rolled back and rejected: labels show harm", "FAIL: loss: over .1", "guardrails PASS: errors",
    ]  # fmt: skip
    assert (narration.begun, narration.ended) == ({2}, {2})


def test_a_reason_is_shown_as_it_was_written() -> None:
    history = History()
    history.add(RetrainRefused("d", "q", "not [/] now [red]please"))
    narration, lines = narrated(history)
    assert lines == ["retrain refused: not [/] now [red]please"]
    assert narration.refusals == ["the trainer refused: not [/] now [red]please"]
