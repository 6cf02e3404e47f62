"""Rollouts of every kind of label, on a real broker with all services: good versions are promoted by their labels, bad ones are rolled
back by them; without labels guardrails or a person end a canary; an A/B test ends with its winner or without one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e.commands import Shell
from tests.e2e.live import messages_of
from tests.e2e.rollouts_scene import (
    ENDS,
    NAMES,
    Asked,
    blurred,
    even,
    fitted,
    five,
    number,
    played,
    rare,
    shuffled,
    turned,
)

from headrace.events.alerts import AlertChanged
from headrace.events.inference import DecisionMade
from headrace.events.registry import RolledBack, RolloutAborted, RolloutCompleted, Route
from headrace.events.verdicts import FAIL, PASS, Evidence, VerdictGiven
from headrace.hosting.settings import Settings
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

PROJECT = """
from dataclasses import replace

from headrace.project import ABTest, Binary, BlueGreen, Canary, Deployment, Multiclass, Number, Project, Regression, prior
from headrace.project.deployments import GUARDRAILS

REPORTED = [replace(rail, dry_run=True) for rail in GUARDRAILS]
HOW = {"label_delay": "2h", "min_cycles": 6, "guardrails": REPORTED}
STEPS = {"shares": [0.25, 0.5, 1], "step": "6h"}
EVEN = Binary("label", horizon="6h")


def declared(name, label, rollout, first):
    return Deployment(name, unit="unit", inputs=[Number(f"x{n}") for n in range(8)], label=label, rollout=rollout, fallback=[prior(first)])


project = Project("labels", deployments=[
    declared("amount", Regression("label", 0, 100, horizon="6h"), Canary(**STEPS, **HOW), 50.0),
    declared("topic", Multiclass("label", NAMES, horizon="6h"), Canary(**STEPS, **HOW), dict.fromkeys(NAMES, 0.2)),
    declared("fraud", Binary("label", horizon="6h"), Canary(margin=0.002, **STEPS, **HOW), 0.005),
    declared("guided", None, Canary(without_labels="promote", **STEPS), 0.5),
    declared("approved", None, Canary(**STEPS), 0.5),
    declared("better", EVEN, ABTest(winner="rule", duration="8d", **HOW), 0.5),
    declared("tie", EVEN, ABTest(winner="rule", duration="8d", **HOW), 0.5),
    declared("switched", EVEN, BlueGreen(guardrails=REPORTED), 0.5),
])
"""
USERS = 60
ASKED = {
    "amount": Asked(number, 300),
    "topic": Asked(five, 300),
    "fraud": Asked(rare, 1000),
    "guided": Asked(even, 200, USERS, has_label=False),
    "approved": Asked(even, 200, USERS, has_label=False),
    "better": Asked(even, 300, USERS),
    "tie": Asked(even, 300, USERS),
    "switched": Asked(even, 300),
}
JUDGED = ("amount", "topic", "fraud")
DAYS, GOOD_DAYS, BAD_DAYS = 27, 14, 12
# The bad version of a deployment is registered when the good one is its champion.
BAD = 3


def champions() -> dict[str, Any]:
    """The first version of each deployment."""
    of_even = fitted(even, 1, 1_000)
    named = {name: of_even for name, asked in ASKED.items() if asked.truth is even}
    return named | {
        "amount": fitted(number, 1, 1_000),
        "topic": fitted(five, 1, 1_000),
        "fraud": fitted(rare, 1, 20_000),
        "better": fitted(even, 3, 1_000, blurred),
    }


def challengers() -> dict[str, Any]:
    """The second versions: good ones, but for a turned one that is switched to at once."""
    of_even = fitted(even, 2, 2_000)
    named = {name: of_even for name, asked in ASKED.items() if asked.truth is even}
    return named | {
        "amount": fitted(number, 2, 2_000),
        "topic": fitted(five, 2, 2_000),
        "fraud": fitted(rare, 2, 20_000),
        "switched": fitted(even, 3, 2_000, turned),
    }


def spoiled() -> dict[str, Any]:
    """The third versions, all bad."""
    return {
        "amount": fitted(number, 3, 2_000, shuffled),
        "topic": fitted(five, 3, 2_000, turned),
        "fraud": fitted(rare, 7, 20_000, shuffled),
    }


@dataclass(frozen=True)
class Story:
    """What was published about all rollouts. `routes`: by deployment and offset.

    `waiting`, `approved`: the status of the deployment `approved` before and after its approval.
    """

    facts: list[Any]
    verdicts: list[VerdictGiven]
    decisions: dict[str, list[DecisionMade]]
    routes: dict[tuple[str, int], Route]
    alerts: list[AlertChanged]
    waiting: dict[str, Any]
    approved: dict[str, Any]

    def end(self, name: str, version: int, kind: type) -> Any:
        """The one fact of a kind with which a version's rollout has ended."""
        ends = [fact for fact in self.facts if isinstance(fact, ENDS)]
        (found,) = [end for end in ends if (end.deployment, end.version) == (name, version) and isinstance(end, kind)]
        return found

    def given(self, name: str, version: int) -> list[VerdictGiven]:
        """The verdicts about a version."""
        return [verdict for verdict in self.verdicts if (verdict.deployment, verdict.version) == (name, version)]

    def rung(self, name: str) -> list[tuple[str, str]]:
        """The alerts about a deployment's rollouts with their statuses, in order."""
        own = [alert for alert in self.alerts if alert.labels.get("deployment") == name]
        return [
            (alert.labels["alertname"], alert.status)
            for alert in own
            if alert.labels["alertname"].startswith("Rollout")
        ]

    def assigned(self, name: str) -> dict[str, set[int | None]]:
        """The versions to which each unit was assigned, by the decisions that followed a route with two versions."""
        (split,) = [place for place, route in self.routes.items() if place[0] == name and len(route.shares) == 2]
        found = defaultdict[str, set[int | None]](set)
        for decision in self.decisions[name]:
            if (name, decision.route_offset) == split:
                found[decision.unit].add(decision.assigned)
        return found


async def play_all(shell: Shell) -> tuple[Any, Any]:
    """Play everything: two weeks with good versions, then a few days with bad ones. Returns the status of `approved` before and after its approval."""
    beside = asyncio.to_thread
    async with played(Settings(bootstrap_servers=shell.state["bootstrap_servers"]), ASKED, DAYS) as play:
        await play.begin(shell.folder, champions(), 1)
        await play.days(list(ASKED), 1)
        await play.begin(shell.folder, challengers(), 2)
        done = [name for name in ASKED if name not in ("approved", "switched")]
        await play.days(list(ASKED), GOOD_DAYS, lambda: all(play.has_ended(name, 2) for name in done))
        (waiting,) = await beside(shell.json, "rollout", "status", "approved")
        await beside(shell.run, "model", "approve", "approved", "2", "--reason", "its answers look right")
        await play.until(lambda: play.has_ended("approved", 2))
        (approved,) = await beside(shell.json, "rollout", "status", "approved")
        await play.begin(shell.folder, spoiled(), BAD)
        await play.days(JUDGED, BAD_DAYS, lambda: all(play.has_ended(name, BAD) for name in JUDGED))
    return waiting, approved


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    shell = Shell(tmp_path_factory.mktemp("labels"))
    try:
        up = shell.run("up", "--port", str(free_port()), within_s=400.0)
        assert up.returncode == 0, up.stderr
        (shell.folder / "labels_project.py").write_text(PROJECT.replace("NAMES", repr(NAMES)))
        assert shell.json("apply", "labels_project.py")["project"] == "labels"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEADRACE_HOME", shell.environ["HEADRACE_HOME"])
            waiting, approved = asyncio.run(play_all(shell))
        nouns = ("registry.facts", "monitor.verdicts", "inference.decisions")
        facts, verdicts, made = ([message.event for message in messages_of(shell, noun)] for noun in nouns)
        decisions = defaultdict[str, list[DecisionMade]](list)
        for decision in made:
            if isinstance(decision, DecisionMade):
                decisions[decision.deployment].append(decision)
        routes = {
            (found.event.deployment, found.record.offset): found.event
            for found in messages_of(shell, "registry.routes")
        }
        alerts = [found.event for found in messages_of(shell, "alerts") if isinstance(found.event, AlertChanged)]
        yield Story(facts, verdicts, decisions, routes, alerts, waiting, approved)
    finally:
        assert shell.run("down").returncode == 0


def failed(evidence: Sequence[Evidence]) -> set[str]:
    """The metrics that failed."""
    return {found.metric for found in evidence if found.verdict == FAIL}


@pytest.mark.parametrize("name", JUDGED)
def test_a_good_version_is_promoted_by_its_labels(story: Story, name: str) -> None:
    end = story.end(name, 2, RolloutCompleted)
    assert (end.promoted, end.reason) == (True, "shown to be no worse than its control")
    level = next(found for found in end.evidence if found.metric == "level")
    print(name, level)
    assert (level.verdict, level.blocks >= 6) == (PASS, True)
    assert level.measured is not None
    assert level.limit is not None
    assert level.measured < level.limit
    assert FAIL not in {verdict.labels for verdict in story.given(name, 2)}


@pytest.mark.parametrize(
    ("name", "tests"), [("amount", {"ranking"}), ("topic", {"ranking", "gross"}), ("fraud", {"ranking"})]
)
def test_a_bad_version_is_rolled_back_by_its_labels(story: Story, name: str, tests: set[str]) -> None:
    end = story.end(name, BAD, RolloutAborted)
    print(name, end.reason)
    assert (end.harmful, end.cause) == (True, "harm")
    assert {found.kind for found in end.evidence} == {"label"}
    assert failed(end.evidence) <= tests
    assert end.reason.startswith(tuple(tests))


def test_shuffled_scores_of_a_rare_label_never_pass_though_their_brier_score_is_nearly_as_good(story: Story) -> None:
    verdicts = story.given("fraud", BAD)
    assert PASS not in {verdict.labels for verdict in verdicts}
    (ranking,) = [found for found in verdicts[-1].evidence if found.metric == "ranking"]
    print(ranking)
    assert ranking.verdict == FAIL
    level = next(found for found in verdicts[-1].evidence if found.metric == "level")
    print(level)
    assert level.measured is None or level.measured < 0.002


def test_without_labels_a_canary_is_promoted_by_its_guardrails(story: Story) -> None:
    end = story.end("guided", 2, RolloutCompleted)
    assert end.promoted
    assert end.reason == "it passed its guardrails, and no label can judge it (without_labels='promote')"
    assert {verdict.unlabelled for verdict in story.given("guided", 2)} == {True}


def test_without_labels_a_canary_waits_for_a_person_and_is_promoted_by_the_approval(story: Story) -> None:
    approve = '`headrace model approve approved 2 --reason "..."`'
    assert story.waiting["waits_for"] == f"a person to approve it: {approve} (no label can judge it)"
    end = story.end("approved", 2, RolloutCompleted)
    assert end.promoted
    assert end.reason.endswith("it passed its guardrails, and no label can judge it")
    assert story.approved["champion"] == 2
    assert story.approved["reason"].startswith("approved by ")
    assert story.rung("approved") == [("RolloutAwaitsApproval", "firing"), ("RolloutAwaitsApproval", "resolved")]


def test_the_better_arm_of_a_test_wins(story: Story) -> None:
    end = story.end("better", 2, RolloutCompleted)
    assert (end.promoted, end.reason) == (True, "won the test")


def test_a_tie_ends_without_a_winner_when_its_time_is_over(story: Story) -> None:
    end = story.end("tie", 2, RolloutCompleted)
    assert (end.promoted, end.reason) == (False, "the test has run its time and does not show the version to be better")


@pytest.mark.parametrize("name", ["better", "tie"])
def test_no_unit_changes_its_arm_during_a_test(story: Story, name: str) -> None:
    assigned = story.assigned(name)
    assert len(assigned) == USERS
    assert {len(versions) for versions in assigned.values()} == {1}
    assert set().union(*assigned.values()) == {1, 2}


def test_a_turned_version_that_was_switched_to_at_once_is_rolled_back_by_its_labels(story: Story) -> None:
    completed, back = story.end("switched", 2, RolloutCompleted), story.end("switched", 2, RolledBack)
    assert completed.promoted
    assert (back.to, back.by, {found.kind for found in back.evidence}) == (1, "monitor", {"label"})
    assert failed(back.evidence) <= {"ranking", "gross"}
    assert story.rung("switched") == [("RolloutRolledBack", "firing")]
    print(back.reason)
