"""Alerts in a deployment's timeline: which episode they belong to, and what a change of a silence is."""

from headrace.events.alerts import AlertSilence
from headrace.events.registry import RolloutAborted
from headrace.evidence.episodes import Episode
from headrace.testing.history import EVENT_S, History, kinds

ANN = AlertSilence("s1", "ann", "a test", "2026-09-21T02:00:00Z")


def alerts(episode: Episode) -> list[str]:
    return [step.sentence for step in episode.steps if step.kind == "alert.changed"]


def harmed(history: History, version: int) -> None:
    """A version that a person released is rolled back."""
    rollout = history.rollout(version, f"start-{version}", "canary")
    history.add(RolloutAborted("d", rollout, version, "it raises", harmful=True), f"{rollout}-aborted")


def test_an_alert_of_a_rollout_belongs_to_the_one_that_had_been_rolled_back_when_it_began() -> None:
    history = History()
    harmed(history, 4)
    history.alert("RolloutRolledBack")
    began_s = history.wall_s
    history.wall_s += 60.0
    harmed(history, 5)
    history.alert("RolloutRolledBack", silence=ANN, began_s=history.wall_s + 1.0 - began_s)
    first, second = history.episodes()
    assert alerts(first) == [
        "alert RolloutRolledBack fires: look at it",
        "alert RolloutRolledBack silenced until 2026-09-21T02:00:00Z by ann: a test",
    ]
    assert alerts(second) == []


def test_an_alert_of_which_only_the_newest_record_is_left_belongs_to_the_rollout_before_it_began() -> None:
    history = History()
    harmed(history, 4)
    history.wall_s += 60.0
    began_s = history.wall_s
    history.wall_s += 60.0
    harmed(history, 5)
    history.alert("RolloutRolledBack", silence=ANN, began_s=history.wall_s + 1.0 - began_s)
    history.alert("RolloutRolledBack", version="5")
    first, second = history.episodes()
    assert alerts(first) == ["alert RolloutRolledBack fires, silenced by ann (a test): look at it"]
    assert alerts(second) == ["alert RolloutRolledBack fires: look at it"]


def test_each_change_of_a_silence_is_one_step_and_a_repetition_is_none() -> None:
    history = History()
    history.finding("f1")
    history.alert("ModelDrift")
    for age_s, silence in enumerate((ANN, ANN, None, None), 1):
        history.alert("ModelDrift", silence=silence, began_s=float(age_s))
    history.alert("ModelDrift", "resolved", began_s=5.0)
    (episode,) = history.episodes()
    assert alerts(episode) == [
        "alert ModelDrift fires: look at it",
        "alert ModelDrift silenced until 2026-09-21T02:00:00Z by ann: a test",
        "silence of alert ModelDrift ended",
        "alert ModelDrift has ended",
    ]


def test_an_alert_written_just_before_its_finding_is_a_step_of_it() -> None:
    history = History()
    history.finding("f0")
    history.resolved("f0")
    history.alert("ModelDrift")
    history.finding("f1")
    first, second = history.episodes()
    assert kinds(first) == ["finding.opened", "finding.resolved"]
    assert kinds(second) == ["alert.changed", "finding.opened"]


def test_an_alert_whose_finding_never_came_is_no_step_of_a_later_one() -> None:
    history = History()
    history.alert("ModelDrift")
    history.wall_s += 60.0
    history.finding("f1")
    (episode,) = history.episodes()
    assert kinds(episode) == ["finding.opened"]


def test_an_alert_is_a_step_of_what_it_is_about() -> None:
    history = History()
    history.finding("f1", kind="traffic", about="landings")
    history.alert("SourceStopped", about="landings")
    history.alert("BreakerOpen")
    (episode,) = history.episodes()
    assert kinds(episode) == ["finding.opened", "alert.changed"]
    assert (episode.steps[-1].part, episode.steps[-1].event_s) == ("alerts", EVENT_S)
    assert episode.standing == "finding (traffic): log-loss of version 1 has risen"
