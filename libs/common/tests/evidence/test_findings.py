"""A finding as a story: what moved, the windows beside it, what was requested because of it, and its end."""

from headrace.events.monitor import FindingEvidence, FindingOpened, Segment, VersionQuality, WindowClosed
from headrace.events.training import RetrainCoalesced, RetrainRefused
from headrace.events.verdicts import PASS
from headrace.evidence.findings import Finding, Findings
from headrace.testing.history import EVENT_S, HOUR_S, History


def folded(history: History, most: int = 200) -> Findings:
    findings = Findings(most)
    for message in history.messages:
        findings.take(message)
    return findings


def window(history: History, to_s: float, loss: float, version: int = 1, role: str = "champion") -> None:
    quality = VersionQuality(version, role, 90, loss, 0.5, None, None)
    history.add(WindowClosed("d", to_s - HOUR_S, to_s, 100, 90, 0.5, PASS, (quality,)), f"w{to_s}")


def only(findings: Findings) -> Finding:
    (found,) = findings.of("d")
    return found


def test_a_finding_says_what_moved_and_since_when() -> None:
    history = History()
    history.finding()
    found = only(folded(history))
    assert (found.kind, found.detector, found.measured, found.limit, found.back_at) == (
        "drift",
        "loss_change",
        0.685,
        0.52,
        0.5,
    )
    assert (found.at_s, found.changed_at_s) == (EVENT_S, EVENT_S - 2 * HOUR_S)
    assert (found.place, found.is_open, found.evidence) == ("monitor.findings.v1/0/0", True, None)


def test_the_evidence_of_a_finding_is_kept_as_it_was_recorded() -> None:
    segment = Segment("carrier", "UA", 300, 0.25, 0.9, 0.4, 0.75)
    evidence = FindingEvidence("inference.decisions.v1/0/7", EVENT_S, ("r1",), segment)
    history = History()
    opened = FindingOpened("f9", "d", "drift", "", EVENT_S, severity="page", evidence=evidence)
    history.add(opened, "f9")
    found = only(folded(history))
    assert (found.severity, found.evidence) == ("page", evidence)


def test_the_windows_before_and_after_stand_beside_it() -> None:
    history = History()
    window(history, EVENT_S - 2 * HOUR_S, 0.40)
    window(history, EVENT_S - HOUR_S, 0.42)
    history.finding()
    window(history, EVENT_S + HOUR_S, 0.70)
    window(history, EVENT_S + 2 * HOUR_S, 0.41, version=2)
    found = only(folded(history))
    assert found.before is not None
    assert found.after is not None
    assert (found.before.loss, found.before.to_s, found.before.labelled) == (0.42, EVENT_S - HOUR_S, 90)
    assert (found.after.loss, found.after.version, found.after.place) == (0.41, 2, "monitor.windows.v1/0/4")
    assert found.found_in is not None
    assert found.found_in.place == "monitor.windows.v1/0/2"


def test_after_its_end_no_window_is_added() -> None:
    history = History()
    history.finding()
    history.at_s += 2 * HOUR_S
    history.resolved()
    window(history, EVENT_S + 2 * HOUR_S, 0.41)
    window(history, EVENT_S + 3 * HOUR_S, 0.39)
    found = only(folded(history))
    assert found.after is not None
    assert found.after.loss == 0.41
    assert (found.resolved_s, found.resolved) == (EVENT_S + 2 * HOUR_S, "log-loss is back: .421")
    assert found.resolved_place == "monitor.findings.v1/0/1"


def test_each_retrain_says_how_it_ended() -> None:
    history = History()
    history.finding("d-f2")
    history.add(RetrainRefused("d", history.request("q0", "d-f2"), "cool-down: 9 h are left"), "no", "q0")
    history.run("run1", history.request("q1", "d-f2"))
    history.registered(2, "run1", "q1")
    history.add(RetrainCoalesced("d", "run1", history.request("q2", "d-f2")), "joined", "q2")
    refused, accepted, joined = only(folded(history)).retrains
    assert (refused.answer, refused.reason) == ("refused", "cool-down: 9 h are left")
    assert (accepted.answer, accepted.run, accepted.outcome, accepted.version) == ("accepted", "run1", "registered", 2)
    assert accepted.end_place == "registry.facts.v1/0/0"
    assert (joined.answer, joined.run) == ("coalesced", "run1")


def test_a_retrain_says_what_its_version_gained_until_the_days_that_were_asked_for_are_over() -> None:
    history = History()
    history.drift_to_switch()
    history.gained(2, 0.02)
    history.gained(2, 0.0123, 0.001, days=14, is_final=True)
    history.gained(2, -0.5, days=15)  # of a later switch
    history.gained(3, -0.5)
    (retrain,) = only(folded(history)).retrains
    assert retrain.gained is not None
    assert (retrain.gained.gain, retrain.gained.days, retrain.gained.previous) == (0.0123, 14, 1)
    assert (retrain.version, retrain.end_place) == (2, "monitor.windows.v1/0/2")


def test_open_findings_stay_when_the_oldest_go() -> None:
    history = History()
    history.finding("open")
    for number in range(20):
        history.finding(f"f{number}")
        history.resolved(f"f{number}")
    findings = folded(history, most=5)
    assert [found.finding for found in findings.of("d")] == ["open", "f16", "f17", "f18", "f19"]
    assert [found.finding for found in findings.of(only_open=True)] == ["open"]
    assert findings.get("op") == findings.of("d")[0]
    assert (findings.get("f1"), findings.get("nothing")) == (None, None)


def test_a_record_that_is_read_again_changes_nothing() -> None:
    history = History()
    history.drift_to_switch()
    findings = folded(history)
    before = findings.of()
    assert {findings.take(message) for message in history.messages} <= {None}
    assert findings.of() == before
