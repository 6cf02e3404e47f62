"""Monitor (windows, rollout blocks, a shard that was restarted), trainer and `dataset build` give every request the same label
as plain loops. Users have 20 requests each, see `outcomes_oracle`."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from tests.cases.outcomes_oracle import HOUR, Outcome, Request, history, label_by_loops

from headrace.events.inference import DecisionMade, PredictionRequested, Score, Served
from headrace.features.dataset import Gathered
from headrace.features.outcomes import KnownOutcome
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.core.blocks import Blocks
from headrace_monitor.core.windows import Windows

H, DAY = 6 * HOUR, 24 * HOUR
END_S = 250 * HOUR
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))]


def compiled(absent: str = "unknown"):
    label = Binary("y", "6h", absent=absent)
    return compile_project(Project("p", [Deployment("d", "u", [Number("x")], label=label)]))


def for_monitor(outcome: Outcome) -> KnownOutcome:
    return KnownOutcome(outcome.unit, outcome.value, outcome.known_s, outcome.id, outcome.request, outcome.corrects)


def as_they_come(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> Iterator[tuple[float, object]]:
    """Requests and outcomes in one stream, with the instant at which each arrives."""
    stream = [(found.at_s, 0, n, found) for n, found in enumerate(requests)]
    stream += [(found.arrives_s, 1, n, found) for n, found in enumerate(outcomes)]  # type: ignore[misc]
    return ((at_s, found) for at_s, _, _, found in sorted(stream, key=lambda one: one[:3]))


def decision(request: Request, offset: int) -> DecisionMade:
    return DecisionMade(request.id, "d", request.unit, request.at_s, Served(Score(1, "m", 0.5)), offset)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("absent", ["unknown", "negative"])
def test_every_window_closes_with_the_labels_of_plain_loops(seed: int, absent: str) -> None:
    requests, outcomes = history(seed)
    windows = Windows(compiled(absent).deployments[0])
    by_offset: dict[int, Request] = {}
    log: list[Outcome] = []
    seen = known = 0
    for clock_s, found in [*as_they_come(requests, outcomes), (END_S, None)]:
        while (closing := windows.closable(clock_s - 60.0)) is not None:
            start_s, closes_s = closing
            rows = windows.rows_of(start_s, closes_s)
            mine = [by_offset[offset] for offset in rows.table["offset"].tolist()]
            expected = [label_by_loops(request, log, H, closes_s, absent) for request in mine]
            np.testing.assert_array_equal(rows.labels, expected)
            seen, known = seen + len(mine), known + int((~np.isnan(rows.labels)).sum())
            windows.drop(start_s, closes_s)
        if isinstance(found, Request):
            by_offset[len(by_offset)] = found
            windows.add_decision(decision(found, 0), 0, len(by_offset) - 1)
        elif isinstance(found, Outcome):
            log.append(found)
            windows.add_outcome(for_monitor(found))
    assert seen == len(requests)
    assert known > 60


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("absent", ["unknown", "negative"])
def test_every_block_of_a_rollout_is_ripe_and_final_with_the_labels_of_plain_loops(seed: int, absent: str) -> None:
    requests, outcomes = history(seed)
    label = compiled(absent).deployments[0].label
    assert label is not None
    blocks = Blocks(label, HOUR, 2 * HOUR)
    log: list[Outcome] = []
    seen, known = {"ripe": 0, "final": 0}, {"ripe": 0, "final": 0}
    for clock_s, found in [*as_they_come(requests, outcomes), (END_S, None)]:
        while (due := blocks.next_due(clock_s - 60.0)) is not None:
            block = blocks.ripen(due) if due.what == "ripe" else blocks.finish(due)
            mine = sorted((r for r in requests if block.from_s <= r.at_s < block.to_s), key=lambda r: r.at_s)
            expected = [label_by_loops(request, log, H, due.at_s, absent) for request in mine]
            np.testing.assert_array_equal(block.labels, expected)
            seen[due.what] += len(mine)
            known[due.what] += int((~np.isnan(block.labels)).sum())
        if isinstance(found, Request):
            blocks.put(found.unit, found.at_s, Score(2, "", 0.9), Score(1, "", 0.5), found.id)
        elif isinstance(found, Outcome):
            log.append(found)
            blocks.add_outcome(for_monitor(found))
    assert seen == {"ripe": len(requests), "final": len(requests)}
    assert 20 < known["ripe"] < known["final"]


@pytest.mark.parametrize("clock_s", [END_S, 70 * HOUR])
@pytest.mark.parametrize("absent", ["unknown", "negative"])
def test_the_trainers_rows_have_the_labels_of_plain_loops(clock_s: float, absent: str) -> None:
    for seed in range(3):
        requests, outcomes = history(seed)
        project = compiled(absent)
        gathered = Gathered(project, project.deployments[0], Topics.load(), 0.0, END_S, clock_s)
        for _, found in as_they_come(requests, outcomes):
            if isinstance(found, Request):
                gathered.request(found.id, found.at_s, found.unit, PredictionRequested("d", {"x": 1.0}))
            elif isinstance(found, Outcome):
                gathered.label(found.unit, found.known_s, found.value, found.id, found.request, found.corrects)
        rows = gathered.rows({})
        expected = [
            label_by_loops(Request(*row), outcomes, H, clock_s, absent)
            for row in zip(rows.ids, rows.units, rows.at_s.tolist(), strict=True)
        ]
        np.testing.assert_array_equal(rows.labels, expected)
