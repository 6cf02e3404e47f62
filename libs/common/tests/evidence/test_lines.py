"""An episode as few lines, each with its records."""

from headrace.evidence.lines import lines_of
from headrace.testing.history import History


def lines(history: History) -> list[tuple[str, int]]:
    (episode,) = history.episodes()
    return [(line.text, len(line.steps)) for line in lines_of(episode)]


def test_a_drift_reads_in_ten_lines() -> None:
    history = History()
    history.drift_to_switch()
    assert lines(history) == [
        ("finding (drift): log-loss of version 1 has risen", 1),
        ("retrain requested (drift) by monitor: the loss has risen", 1),
        ("accepted as run drun2", 1),
        ("2 gates PASS: parity, better", 2),
        ("run drun2 trained on 101,600 rows in 41.0 s", 1),
        ("version 2 registered by trainer, trained on 101,600 rows", 1),
        ("rollout of version 2 began (blue green) against version 1: drift", 1),
        ("version 2 warm on 2 instances", 2),
        ("version 2 is champion in place of version 1", 1),
        ("finding resolved (drift): log-loss is back: .421", 1),
    ]


def test_the_progress_of_a_run_is_a_line_while_it_runs() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"))
    finished = history.messages.pop()
    assert [text for text, _ in lines(history)][2] == "run run1 80% (fit)"
    history.messages.append(finished)
    assert "run run1 80% (fit)" not in [text for text, _ in lines(history)]


def test_a_gate_that_fails_has_a_line_of_its_own() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"), gate="FAIL", outcome="rejected")
    texts = [text for text, _ in lines(history)]
    assert texts[2:4] == ["gate parity PASS: .41, limit .69", "gate better FAIL: .41, limit .69"]


def test_every_line_names_the_newest_of_its_records() -> None:
    history = History()
    history.drift_to_switch()
    found = lines_of(history.episodes()[0])
    gates = next(line for line in found if len(line.steps) == 2)
    assert (gates.place, gates.since_wall_s) == (gates.steps[-1].place, 21.0)
