"""Alarms about how requests are answered."""

from headrace.events.inference import BreakerChanged, OverloadChanged, VersionLoadFailed, VersionWarmed
from headrace_monitor.core.serving_alarms import InferenceFact, ServingAlarms


def changed(state: str, instance: str = "i-1") -> BreakerChanged:
    return BreakerChanged("delay", 3, state, "", "predict returned NaN", instance)


def taken(*facts: InferenceFact) -> tuple[list[str], list[str]]:
    """Names of the alarms that the last of some facts raises and ends."""
    serving = ServingAlarms()
    for fact in facts[:-1]:
        serving.alarms_of(fact)
    raised, ended = serving.alarms_of(facts[-1])
    return [alarm.name for alarm in raised], [alarm.name for alarm in ended]


def test_an_open_breaker_raises_the_alarm_and_a_closed_one_ends_it() -> None:
    assert taken(changed("open")) == (["BreakerOpen"], [])
    assert taken(changed("open"), changed("half_open")) == ([], [])
    assert taken(changed("open"), changed("half_open"), changed("closed")) == ([], ["BreakerOpen"])


def test_it_fires_as_long_as_any_instance_has_it_open() -> None:
    opened = changed("open", "i-1"), changed("open", "i-2")
    assert taken(*opened, changed("closed", "i-1")) == ([], [])
    assert taken(*opened, changed("closed", "i-1"), changed("closed", "i-2")) == ([], ["BreakerOpen"])


def test_an_instance_that_was_started_anew_has_its_breaker_closed() -> None:
    assert taken(changed("open"), VersionWarmed("delay", 3, "i-1", 0.2)) == ([], ["BreakerOpen"])


def test_load_that_is_shed_raises_the_alarm_until_it_is_over() -> None:
    assert taken(OverloadChanged("delay", 1, 0, 0.4, "i-1")) == (["Overload"], [])
    assert taken(OverloadChanged("delay", 3, 1, 0.9, "i-1"), OverloadChanged("delay", 0, 3, 0.0, "i-1")) == (
        [],
        ["Overload"],
    )


def test_a_load_that_goes_on_is_described_as_such_and_not_as_a_failure() -> None:
    fact = VersionLoadFailed("delay", 3, "i-1", "time", "its load has taken 120 s so far and goes on", goes_on=True)
    serving = ServingAlarms()
    ((alarm,), _) = serving.alarms_of(fact)
    assert alarm.summary == "version 3 of delay is not loaded yet: its load has taken 120 s so far and goes on"
    ended = serving.alarms_of(VersionWarmed("delay", 3, "i-1", 130.0))[1]
    assert "VersionLoadFailed" in [alarm.name for alarm in ended]
