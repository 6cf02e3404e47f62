"""Late and missing scores of shadows in the verdict about a rollout."""

import pytest
from tests.cases.rollout_failures_scene import (
    HOUR,
    NEW,
    NOT_OWN,
    OLD,
    analysis_of,
    decision,
    deployment,
    feed,
    late,
    verdict_of,
)

from headrace.events.failures import (
    Failure,
    Raised,
)
from headrace.events.verdicts import FAIL, PASS, UNMEASURED
from headrace.features.outcomes import KnownOutcome
from headrace.project import Guardrail
from headrace_monitor.core.arms import PENDING_BYTES


def test_a_shadow_that_comes_late_counts_as_if_it_had_stood_in_the_decision() -> None:
    rails = (Guardrail("errors", 0.02, consecutive=30), Guardrail("distribution", 0.5), Guardrail("latency", 3.0))
    on_time, behind = analysis_of(deployment(*rails), share=0.0), analysis_of(deployment(*rails), share=0.0)
    offset = 0
    for n in range(200):
        result = Raised("no") if n % 7 == 0 else 0.2 + 0.003 * n
        feed(on_time, decision(n, OLD, result), start=n)
        feed(behind, decision(n, OLD, None), late(n, NEW, result), late(n, NEW, 0.9), start=offset)
        offset += 3
        for analysis in (on_time, behind):
            analysis.add_outcome(KnownOutcome(f"u{n}", float(n % 3 == 0), n * 60.0 + 600))
    one, two = (verdict_of(analysis, 200 * 60.0) for analysis in (on_time, behind))
    assert [e for e in one.evidence if e.metric != "latency"] == [e for e in two.evidence if e.metric != "latency"]
    assert one.evidence[-1].rows > 50


def test_a_late_shadow_that_raises_on_everything_is_found_and_the_streak_waits_for_a_late_control() -> None:
    analysis = analysis_of(share=0.0)
    for n in range(20):
        feed(analysis, decision(n, OLD, None), late(n, NEW, Raised("no")), start=2 * n)
        assert (verdict_of(analysis).guardrails == FAIL) == (n == 19)
    both = analysis_of()
    feed(both, *[decision(n, NEW, Raised("no"), None) for n in range(40)])
    assert verdict_of(both).guardrails != FAIL
    feed(both, *[late(n, OLD, Raised("no")) for n in range(5)], start=40)
    assert verdict_of(both).guardrails != FAIL
    # The control is healthy again when more of its results are good than not.
    feed(both, *[late(n, OLD, 0.3) for n in range(5, 29)], start=45)
    assert verdict_of(both).guardrails != FAIL
    feed(both, late(29, OLD, 0.3), start=69)
    assert verdict_of(both).guardrails == FAIL


@pytest.mark.parametrize("how", ["never came", *NOT_OWN])
def test_over_two_percent_of_missing_pairs_leave_the_labels_unmeasured_and_are_reported(how: Failure | str) -> None:
    for missing, verdict in ((2, PASS), (3, UNMEASURED)):
        analysis, offset = analysis_of(share=0.0), 0
        for n in range(100):
            at_s = n * 30.0
            is_missing = n < missing
            feed(analysis, decision(n, OLD, None if is_missing else 0.3, at_s=at_s), start=offset)
            if is_missing and not isinstance(how, str):
                feed(analysis, late(n, NEW, how, at_s), start=offset + 1)
            offset += 2
            analysis.add_outcome(KnownOutcome(f"u{n}", float(n % 2), at_s + 60))
        found = verdict_of(analysis, 6 * HOUR)
        missing_pairs = next(e for e in found.evidence if e.metric == "missing_pairs")
        assert missing_pairs.measured == missing / 100
        assert (missing_pairs.verdict, found.labels) == (verdict, UNMEASURED)
        assert f"{missing}.0% of the pairs are missing ({missing} of 100, 2% may be)" in missing_pairs.detail


def test_shadows_that_never_come_are_bounded_in_memory() -> None:
    analysis = analysis_of(share=0.0)
    analysis._requests._pending._limit = 100
    feed(analysis, *[decision(n, OLD, None, at_s=float(n)) for n in range(1000)])
    assert analysis.held_bytes()["rollout_shadows_due"] == 100 * PENDING_BYTES
    found = verdict_of(analysis, 6 * HOUR)
    assert analysis.held_bytes()["rollout_shadows_due"] == 0
    assert next(e for e in found.evidence if e.metric == "missing_pairs").rows == 1000
