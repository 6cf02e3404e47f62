"""What an instance counts of its answers: bounded numbers of deployments and versions, and counts that only grow."""

import msgspec

from headrace.events.ops import DEPLOYMENTS_REPORTED, VERSIONS_REPORTED, DeploymentTraffic
from headrace.hosting.health import Health
from headrace.hosting.traffic import Tally, Traffic


def anything(version: int) -> bool:
    return version > 0


def test_the_report_has_counts_by_outcome_and_by_version() -> None:
    tally = Tally()
    tally.count("served", 3, 5, anything)
    tally.count("previous", 2, 1, anything)
    tally.count("prior", 0, 2, anything)
    tally.count("invalid", 0, 4, anything)
    tally.latency.add(0.02, 12)
    assert tally.reported() == DeploymentTraffic(
        {"served": 5, "previous": 1, "prior": 2, "invalid": 4},
        {"3": 5, "2": 1},
        (0, 0, 12, *[0] * 12),
        0.24,
    )


def test_versions_that_the_route_does_not_name_are_counted_together_until_it_does() -> None:
    tally = Tally()
    tally.count("served", 9, 2, lambda version: version == 3)
    tally.count("served", 8, 1, lambda version: version == 3)
    tally.count("served", 9, 4, lambda version: version == 9)
    tally.count("served", 9, 1, lambda version: version == 3)
    assert tally.reported().versions == {"other": 3, "9": 5}


def test_the_version_counted_first_makes_room_for_a_new_one_and_no_count_is_lost() -> None:
    tally = Tally()
    for version in range(1, VERSIONS_REPORTED + 3):
        tally.count("served", version, 10, anything)
    reported = tally.reported()
    assert len(reported.versions) == VERSIONS_REPORTED + 1
    assert (reported.versions["other"], reported.versions["3"]) == (20, 10)
    assert reported.outcomes == {"served": 10 * (VERSIONS_REPORTED + 2)}


def test_deployments_that_do_not_exist_and_those_beyond_the_limit_are_counted_together() -> None:
    traffic = Traffic()
    for number in range(DEPLOYMENTS_REPORTED + 5):
        traffic.of(f"d{number}", exists=True).count("served", 1, 1, anything)
    traffic.of("made up", exists=False).count("invalid", 0, 1, anything)
    reported = traffic.reported()
    assert len(reported) == DEPLOYMENTS_REPORTED + 1
    assert reported[""].outcomes == {"served": 5, "invalid": 1}
    assert reported["d7"].outcomes == {"served": 1}


def test_a_full_report_fits_a_record_many_times_over() -> None:
    """A record of `ops.health` may have a mebibyte; a report of 256 busy deployments has a twentieth of that."""
    health = Health("inference", "inference-1")
    for number in range(DEPLOYMENTS_REPORTED):
        tally = health.traffic.of(f"a deployment with a long name {number}", exists=True)
        for outcome in ("served", "previous", "prior"):
            tally.count(outcome, 12, 10**6, anything)
        for seconds in (0.001, 0.02, 0.3):
            tally.latency.add(seconds, 10**6)
    assert len(msgspec.msgpack.encode(health.report())) < 50_000
