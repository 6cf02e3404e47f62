"""Traffic: reports are subtracted, restarts count from zero, and what nobody reported is unknown, not zero."""

from typing import Any

from headrace.events.ops import DeploymentTraffic, HealthReported
from headrace.latency import BUCKETS
from headrace_console.core.traffic import Traffic

T = 1_800_000_000.0  # a whole minute


def report(
    at_s: float, started_s: float = T - 1, instance: str = "i1", **outcomes: int
) -> tuple[HealthReported, float]:
    latency = (0, sum(outcomes.values()), *[0] * (BUCKETS - 2))
    counts = DeploymentTraffic(outcomes, {"1": outcomes.get("served", 0)}, latency)
    traffic = {"d": counts} if outcomes else {}
    return HealthReported("inference", instance, True, started_s=started_s, traffic=traffic), at_s


def fed(*reports: tuple[HealthReported, float]) -> Traffic:
    traffic = Traffic()
    for found in reports:
        traffic.take(*found)
    return traffic


def test_the_last_minute_is_what_came_between_reports() -> None:
    traffic = fed(*(report(T + second, served=10 * (second + 1)) for second in range(61)))
    figures = traffic.figures("d", T + 60)
    assert (figures.per_s, figures.fallback_share) == (10.0, 0.0)
    assert figures.outcomes == {"served": 600}
    assert figures.p99_ms is not None
    assert 5.0 < figures.p99_ms <= 10.0


def test_a_fallback_counts_with_its_step() -> None:
    traffic = fed(report(T, served=0, prior=0), report(T + 1, served=3, prior=1), report(T + 6, served=3, prior=1))
    assert traffic.figures("d", T + 6).outcomes == {"served": 3, "fell_back.prior": 1}
    assert traffic.figures("d", T + 6).fallback_share == 0.25


def test_an_instance_that_starts_anew_counts_from_zero() -> None:
    traffic = fed(
        report(T, served=100), report(T + 2, started_s=T + 1, served=7), report(T + 6, started_s=T + 1, served=7)
    )
    assert traffic.figures("d", T + 6).outcomes == {"served": 107}


def test_an_instance_that_was_there_before_the_console_gives_no_count_at_first() -> None:
    traffic = fed(
        report(T, started_s=T - 9_000, served=1_000_000),
        report(T + 1, started_s=T - 9_000, served=1_000_004),
        report(T + 6),
    )
    assert traffic.figures("d", T + 6).outcomes == {"served": 4}


def test_a_report_without_traffic_is_no_news() -> None:
    traffic = fed(report(T, served=5), report(T + 1), report(T + 2, served=8), report(T + 6))
    assert traffic.figures("d", T + 6).outcomes == {"served": 8}


def test_two_instances_are_added() -> None:
    traffic = fed(report(T, served=1), report(T, instance="i2", served=2), report(T + 6))
    assert traffic.figures("d", T + 6).outcomes == {"served": 3}


def test_what_nobody_reports_is_unknown_and_not_zero() -> None:
    traffic = fed(report(T, served=1), report(T + 5, served=1))
    assert traffic.figures("d", T + 10).per_s is not None
    traffic.advance(T + 200)
    assert traffic.figures("d", T + 200).per_s is None
    assert Traffic().figures("d", T).per_s is None


def test_a_deployment_without_requests_has_the_rate_zero_where_inference_reports() -> None:
    traffic = fed(report(T), report(T + 5))
    assert (traffic.figures("quiet", T + 8).per_s, traffic.figures("quiet", T + 8).outcomes) == (0.0, {})


def test_whole_minutes_are_handed_over_once_and_the_first_one_never() -> None:
    traffic = fed(*(report(T + 30 + second, served=second + 1) for second in range(0, 160, 10)))
    closed = traffic.take_closed()
    assert [minute for minute, _ in closed] == [int(T) // 60 + 1, int(T) // 60 + 2]
    assert [amounts["d"].answers for _, amounts in closed] == [60, 60]
    assert traffic.take_closed() == []


def test_the_spark_shows_minutes_and_leaves_gaps_where_nothing_was_reported() -> None:
    traffic: Any = fed(*(report(T + second, served=second + 1) for second in range(0, 130, 10)))
    traffic.take(*report(T + 300, served=121))
    spark = traffic.spark("d", T + 300)
    assert (len(spark), spark[-5:]) == (30, (None, 1.0, round(10 / 60, 2), None, None))
