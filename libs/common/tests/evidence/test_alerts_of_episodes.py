"""Alerts in a deployment's timeline: which episode they belong to, and what a change of a silence is."""

from headrace.events.alerts import AlertSilence
from headrace.events.registry import RolloutAborted
from headrace.evidence.episodes import Episode
from headrace.evidence.timeline import Timeline
from headrace.testing.history import History

ANN = AlertSilence("s1", "ann", "a test", "2026-09-21T02:00:00Z")


def told(history: History) -> list[Episode]:
    timeline = Timeline()
    for message in history.messages:
        timeline.take(message)
    return timeline.episodes("d")


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
    first, second = told(history)
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
    first, second = told(history)
    assert alerts(first) == ["alert RolloutRolledBack fires, silenced by ann (a test): look at it"]
    assert alerts(second) == ["alert RolloutRolledBack fires: look at it"]


def test_each_change_of_a_silence_is_one_step_and_a_repetition_is_none() -> None:
    history = History()
    history.finding("f1")
    history.alert("ModelDrift")
    for age_s, silence in enumerate((ANN, ANN, None, None), 1):
        history.alert("ModelDrift", silence=silence, began_s=float(age_s))
    history.alert("ModelDrift", "resolved", began_s=5.0)
    (episode,) = told(history)
    assert alerts(episode) == [
        "alert ModelDrift fires: look at it",
        "alert ModelDrift silenced until 2026-09-21T02:00:00Z by ann: a test",
        "silence of alert ModelDrift ended",
        "alert ModelDrift has ended",
    ]
