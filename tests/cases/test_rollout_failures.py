"""Cases 28 and 29, from decisions alone: failures that are a version's own and those that are not, and streaks."""

import msgspec
import numpy as np
import pytest
from tests.cases.rollout_failures_scene import (
    NEW,
    NOT_OWN,
    OLD,
    analysis_of,
    decision,
    deployment,
    evidence,
    feed,
    verdict_of,
)

from headrace.events.failures import (
    BreakerOpen,
    Failure,
    Hung,
    InvalidScore,
    Raised,
)
from headrace.events.inference import Refused
from headrace.events.verdicts import FAIL, INCONCLUSIVE
from headrace.project import Guardrail

OWN: list[Failure] = [Raised("ValueError: no"), InvalidScore("NaN"), Hung("it did not end")]


# which failures count against a version


@pytest.mark.parametrize("failure", OWN)
def test_what_is_a_versions_own_fault_counts_in_the_shares_and_in_the_streak(failure: Failure) -> None:
    analysis = analysis_of()
    feed(analysis, *[decision(n, NEW, new=failure) for n in range(20)])
    assert verdict_of(analysis).guardrails == FAIL


@pytest.mark.parametrize("failure", NOT_OWN)
def test_what_is_not_its_own_fault_never_fails_it_whatever_the_words_and_keeps_the_share(failure: Failure) -> None:
    rails = (Guardrail("errors", 0.02, consecutive=5), Guardrail("invalid_scores", 0.01), Guardrail("degraded", 0.05))
    analysis = analysis_of(deployment(*rails))
    feed(analysis, *[decision(n, NEW if n % 2 else OLD, new=failure) for n in range(2000)])
    verdict = verdict_of(analysis)
    assert verdict.guardrails != FAIL
    not_asked = evidence(analysis, "not_asked")
    assert not_asked is not None
    assert (not_asked.verdict, not_asked.measured) == (INCONCLUSIVE, 1.0)


# case 29


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("failure", [Raised("no such column"), Hung("it did not end")])
def test_both_arms_failing_on_the_same_requests_never_rejects(failure: Failure, share: float) -> None:
    analysis, rng = analysis_of(share=share), np.random.default_rng(1)
    for n in range(0, 600, 100):
        feed(analysis, *[decision(n + i, NEW if rng.random() < share else OLD) for i in range(50)], start=n)
        bad = [decision(n + i, NEW if rng.random() < share else OLD, failure, failure) for i in range(50, 100)]
        feed(analysis, *bad, start=n + 50)
    assert verdict_of(analysis).guardrails != FAIL


def test_an_outage_that_both_arms_see_without_scoring_along_never_rejects() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02, consecutive=20)))
    events = [
        msgspec.structs.replace(
            made, failures={str(arm): Raised("no")}, shadows=(), answer=Refused("nothing can answer")
        )
        for n in range(400)
        for arm in [NEW if n % 2 else OLD]
        for made in [decision(n, arm)]
    ]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails != FAIL


@pytest.mark.parametrize("same", ["unit", "row"])
def test_a_clients_retries_of_one_unit_or_one_row_count_once(same: str) -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02, consecutive=20), Guardrail("degraded", 0.02)))
    events = []
    for n in range(0, 400, 2):
        one = {"unit": "ann"} if same == "unit" else {"row": b"\0\0\x80\x7f"}
        events += [decision(n, NEW, Raised("no"), **one), decision(n + 1, OLD)]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails != FAIL
    found = evidence(analysis, "errors")
    assert found is not None
    # A unit counts once per hour, of which there are seven; a row once.
    one = "7 of 207; control 0 of 207; 7 of its failures are one unit's, and do not count"
    assert found.detail == (one if same == "unit" else "1 of 201; control 0 of 201")


def test_a_version_that_raises_on_everything_is_found_at_its_twentieth_unit() -> None:
    analysis, failed_at = analysis_of(), None
    for n in range(100):
        feed(analysis, decision(n, NEW if n % 2 else OLD, Raised("no")), start=n)
        if failed_at is None and verdict_of(analysis).guardrails == FAIL:
            failed_at = n
    assert failed_at == 39  # the twentieth unit of the new arm


def test_by_shares_it_is_found_within_a_dozen_units_and_without_any_count() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02)))
    events = [decision(n, NEW if n % 2 else OLD, Raised("no")) for n in range(24)]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails == FAIL


def test_a_streak_is_ended_by_a_good_score_and_not_by_what_both_fail() -> None:
    analysis = analysis_of()
    feed(analysis, *[decision(n, NEW, Raised("no")) for n in range(19)])
    feed(analysis, *[decision(n, NEW, Raised("no"), Raised("no")) for n in range(19, 60)], start=19)
    assert verdict_of(analysis).guardrails != FAIL
    feed(analysis, decision(60, NEW, Raised("no")), start=60)
    assert verdict_of(analysis).guardrails == FAIL
    other = analysis_of()
    feed(
        other, *[decision(n, NEW, Raised("no")) for n in range(19)], decision(19, NEW), decision(20, NEW, Raised("no"))
    )
    assert verdict_of(other).guardrails != FAIL


# what one client, or one block, can do


def test_one_broken_client_with_a_third_of_all_requests_rejects_nothing() -> None:
    rails = (
        Guardrail("errors", 0.002, consecutive=20),
        Guardrail("degraded", 0.05),
        Guardrail("invalid_scores", 0.002),
    )
    analysis = analysis_of(deployment(*rails))
    for n in range(6000):
        one = {"unit": "broken"} if n % 3 == 0 else {}
        feed(analysis, decision(n, NEW if n % 2 else OLD, InvalidScore("NaN") if one else 0.3, **one), start=n)
    assert verdict_of(analysis).guardrails != FAIL
    found = evidence(analysis, "errors")
    assert found is not None
    # Once in each hour.
    assert found.detail == "100 of 4100; control 0 of 4100; 100 of its failures are one unit's, and do not count"
    assert found.e_value < 1


def test_two_units_that_always_fail_by_the_version_alone_do() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.002)))
    for n in range(6000):
        unit = f"broken{n % 2}" if n % 3 == 0 else f"u{n}"
        feed(analysis, decision(n, OLD, Raised("no") if unit.startswith("broken") else 0.3, unit=unit), start=n)
    assert verdict_of(analysis).guardrails == FAIL


# a version whose breaker is open


def test_a_canary_that_hangs_again_after_a_rest_is_rolled_back_by_what_its_open_breaker_costs() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.002)), share=0.01)
    feed(analysis, decision(0, OLD, Hung("it did not end")))
    feed(analysis, *[decision(n, OLD, BreakerOpen("it hangs", 1)) for n in range(1, 500)], start=1)
    assert verdict_of(analysis).guardrails != FAIL  # one hang may be one row
    feed(analysis, decision(500, OLD, Hung("it did not end")), start=500)
    feed(analysis, *[decision(n, OLD, BreakerOpen("it hangs", 2)) for n in range(501, 521)], start=501)
    assert verdict_of(analysis).guardrails == FAIL


def test_a_version_that_a_slow_machine_keeps_from_being_asked_is_never_rejected() -> None:
    rails = (Guardrail("errors", 0.002, consecutive=5), Guardrail("degraded", 0.05))
    analysis = analysis_of(deployment(*rails))
    feed(analysis, *[decision(n, NEW if n % 2 else OLD, BreakerOpen("slow calls", 0)) for n in range(1000)])
    assert verdict_of(analysis).guardrails != FAIL


def test_open_breakers_of_both_versions_cost_nobody() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.002, consecutive=5), Guardrail("degraded", 0.05)))
    both = BreakerOpen("the disk is broken", 3)
    feed(analysis, *[decision(n, NEW if n % 2 else OLD, both, both) for n in range(1000)])
    assert verdict_of(analysis).guardrails != FAIL
