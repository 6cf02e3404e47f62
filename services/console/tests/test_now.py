"""Is all well? The sign is green only where everything that could turn it red is there; each is taken away in turn."""

from collections.abc import Callable
from typing import Any

import pytest
from services.console.tests.known import DAY_S, NOW_S, Known

from headrace.events.alerts import SilenceEnded, SilenceSet
from headrace.events.ops import PartitionStopped
from headrace.events.registry import RolloutPaused, RolloutStarted
from headrace.events.verdicts import VerdictGiven
from headrace.project import Deployment, Number
from headrace_console.core.catalogue import GROUPS

PAUSED = (RolloutStarted("d", "r1", 2, "blue_green", "r", None, 1), RolloutPaused("d", "r1", 2, "wait"))
BROKEN: dict[str, tuple[Callable[[Known], Any], str]] = {
    "a page": (lambda k: k.alert(), "page"),
    "a warning": (lambda k: k.alert(severity="warning"), "attention"),
    "an open finding": (lambda k: k.finding(), "attention"),
    "a paused rollout": (lambda k: k.facts(*PAUSED), "attention"),
    "a stopped topic": (
        lambda k: k.take(
            "ops.stops", PartitionStopped("feature", "events.x.v1", 0, 7, "bad"), key="feature/events.x.v1/0"
        ),
        "attention",
    ),
    "a service that is not ready": (lambda k: k.report("feature", ready=False, reason="no place"), "attention"),
    "a fallback answers": (lambda k: k.report("inference", degraded={"d": "breaker"}), "attention"),
    "nothing is applied": (lambda k: k.apply(), "unknown"),
    "an ignored definition": (lambda k: k.world.set_projects(k.world.projects, {"thief": "d belongs to p"}), "unknown"),
    "a deployment without a version": (lambda k: k.champion(deployment="e"), "unknown"),
    "quality unknown": (lambda k: k.window(1, labelled=2, qualities=(), verdict="UNMEASURED"), "unknown"),
    **{
        f"{group} read long ago": (lambda k, g=group: k.read_s.update({g: NOW_S - 11.0}), "unknown") for group in GROUPS
    },
    **{f"{group} never read": (lambda k, g=group: k.read_s.update({g: None}), "unknown") for group in GROUPS},
}


def test_all_is_well_where_everything_is_there() -> None:
    found = Known().well().now()
    assert (found["mark"], found["word"], found["needs"]) == ("ok", "all is well", {})
    assert found["deployments"]["d"]["mark"] == "ok"
    assert found["event_at_s"] == DAY_S


@pytest.mark.parametrize("what", BROKEN)
def test_the_sign_turns(what: str) -> None:
    known, (breaks, mark) = Known().well(), BROKEN[what]
    breaks(known)
    found = known.now()
    assert (found["mark"], found["word"] == "all is well") == (mark, False)


@pytest.mark.parametrize("service", ["monitor", "registry", "inference"])
def test_a_service_that_must_report_and_does_not_is_missed(service: str) -> None:
    known = Known().champion().window().report(*({"monitor", "registry", "inference"} - {service}))
    assert (known.now()["mark"], known.now()["word"]) == ("unknown", f"{service} does not report")


def test_a_service_that_falls_silent_needs_a_person() -> None:
    known = Known().well()
    known.read_s = dict.fromkeys(GROUPS, NOW_S + 20.0)
    found = known.now(NOW_S + 20.0)
    assert found["mark"] == "attention"
    assert [need["title"] for need in found["needs"].values()] == [
        f"{name}-1 is silent" for name in ("inference", "monitor", "registry")
    ]


def test_no_window_is_unknown_and_says_so() -> None:
    known = Known().champion().report("monitor", "registry", "inference")
    assert (known.now()["mark"], known.now()["word"]) == (
        "unknown",
        "d is not known: no evaluation window has closed yet",
    )


def test_a_deployment_without_labels_can_be_well() -> None:
    plain = Deployment("d", unit="thing", inputs=[Number("x")])
    assert Known(plain).champion().report("monitor", "registry", "inference").now()["mark"] == "ok"


SILENCE = SilenceSet("s1", {"alertname": "BreakerOpen"}, NOW_S - 1, NOW_S + 60, "anna", "known")


def test_an_alert_that_is_over_needs_nobody() -> None:
    assert Known().well().alert().alert(is_over=True).now()["mark"] == "ok"


def test_a_silenced_alert_needs_nobody_and_stays_in_sight() -> None:
    known = Known().well().alert().take("alerts.silences", SILENCE, key="s1")
    found = known.now()
    assert (found["mark"], found["word"]) == ("unknown", "all is well, 1 silenced")
    (need,) = found["needs"].values()
    assert (need["kind"], need["mark"], need["about"], need["title"]) == (
        "silenced",
        "unknown",
        "d",
        "BreakerOpen it is",
    )
    assert need["detail"] == "silenced until 2027-01-15T08:01:00Z by anna: known"
    assert [(offer["act"], offer["target"]) for offer in need["offers"]] == [("unsilence", "s1")]
    assert found["deployments"]["d"]["mark"] == "unknown"


def test_a_silenced_alert_is_not_counted_among_what_needs_a_person() -> None:
    known = Known().well().alert().take("alerts.silences", SILENCE, key="s1").alert("Other", "warning", topic="t")
    found = known.now()
    assert (found["mark"], found["word"]) == ("attention", "1 thing needs a person, 1 silenced")
    assert [need["kind"] for need in found["needs"].values()] == ["warning", "silenced"]
    assert Known().alert().take("alerts.silences", SILENCE, key="s1").now()["word"].endswith(", 1 silenced")


def test_a_silence_ends_by_itself_and_by_a_person() -> None:
    known = Known().well().alert().take("alerts.silences", SILENCE, key="s1")
    assert known.now(NOW_S + 61)["mark"] != "unknown"
    assert known.document("alerts")["silences"]["s1"]["by"] == "anna"
    known.take("alerts.silences", SilenceEnded("s1", "otto", "it is mended"), key="s1")
    assert known.now()["mark"] == "page"


def test_the_clock_is_the_latest_instant_of_event_time_that_is_known() -> None:
    known = Known().well()
    verdict = VerdictGiven("d", "r1", 2, 0, "PASS", "PASS", 2.5 * DAY_S, 9, 9, 9, 9, (), "labels")
    assert known.take("monitor.verdicts", verdict).now()["event_at_s"] == 2.5 * DAY_S
    assert known.finding().now()["deployments"]["d"]["event_at_s"] == 5 * DAY_S
    assert known.report("feature", newest_event_s={"x/0": 9 * DAY_S}).now()["event_at_s"] == 9 * DAY_S


def test_the_most_pressing_comes_first_and_nothing_twice() -> None:
    known = Known().well().finding().alert("ModelDrift", "warning").alert().facts(*PAUSED)
    needs = known.now()["needs"]
    assert [need["kind"] for need in needs.values()] == ["page", "rollout", "warning"]
    assert next(iter(needs.values()))["offers"][0]["act"] == "silence"


def test_rows_that_did_not_change_are_not_made_again() -> None:
    known = Known().well()
    first = known.now()["deployments"]["d"]
    assert known.now()["deployments"]["d"] is first
    assert known.window(1).now()["deployments"]["d"] is not first
