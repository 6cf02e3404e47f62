"""The closed loop: what is found is asked for, what is asked for is trained, and what was trained answers."""

import numpy as np
from libs.backtest.tests.scene import BEGIN_S, DAY, build, champion, deployment, stream

from headrace.events.definition import DeploymentDefinition
from headrace.log.envelope import format_instant
from headrace_backtest.calendars import composite, grid_of
from headrace_backtest.history import History
from headrace_backtest.judging import Judged, judge
from headrace_backtest.plants import parse, planted
from headrace_backtest.replaying import Loop, Played
from headrace_backtest.running import never_of
from headrace_backtest.training import Trainer

FROM_S, TO_S = BEGIN_S + 12 * DAY, BEGIN_S + 40 * DAY


async def tried(
    history: History, own: DeploymentDefinition | None = None, plants: tuple[str, ...] = ()
) -> tuple[Played, Judged]:
    found = [parse(text) for text in plants]
    trainer = Trainer(planted(history, found), own or deployment(), build)
    start = champion(trainer, FROM_S)
    played = await Loop(trainer, trainer.deployment, start, FROM_S, TO_S, 3600.0).run()
    yardstick = trainer.target.yardstick(history.labels)
    never = never_of(trainer.history, start, yardstick, (FROM_S, TO_S))
    matrix = composite(trainer, start, yardstick, grid_of(FROM_S, TO_S, DAY, 14), TO_S, 3600.0)
    return played, judge("mine", played, never, trainer.history, yardstick, (FROM_S, TO_S), found, matrix)


async def test_a_turned_concept_is_found_retrained_and_the_gain_is_that_of_the_new_version() -> None:
    history = stream(40, 80, turns=25)
    played, judged = await tried(history)
    drift = played.alarms[0]
    assert 25 <= (drift.at_s - BEGIN_S) / DAY <= 29
    first, gain = judged.retrains[0]
    assert (first.cause, first.outcome, first.version) == ("drift", "registered", 2)
    served = np.flatnonzero(played.course.numbers == 2)
    assert history.at_s[served[0]] >= first.ready_s
    assert gain.mean > 0.5
    assert gain.rows == len(served)
    assert judged.gain.low is not None
    assert judged.gain.low > 0
    assert judged.place.among_random > 75
    assert judged.loss < 1.0


async def test_without_a_change_nothing_is_asked_for_and_nothing_is_gained() -> None:
    played, judged = await tried(stream(40, 80))
    assert (played.alarms, played.retrains) == ([], [])
    assert (judged.gain.mean, judged.place.among_phases, judged.place.among_random) == (0.0, 50.0, 50.0)
    # the last of 28 days stays open, since no later request shows that it is over
    assert len(played.told.windows) == 27


async def test_a_deaf_policy_gains_nothing_from_a_change() -> None:
    played, judged = await tried(stream(40, 80, turns=25), deployment(monitoring=[]))
    assert (played.retrains, judged.gain.mean) == ([], 0.0)


async def test_a_planted_fault_has_a_delay_and_is_no_false_alarm() -> None:
    plant = f"flip=1@{format_instant(BEGIN_S + 25 * DAY)}..6d"
    silent = f"scale=b:1@{format_instant(BEGIN_S + 14 * DAY)}..1d"
    played, judged = await tried(stream(40, 80), deployment(retraining=None), plants=(plant, silent))
    found, missed = judged.delays
    assert (found.by, missed.delay_s) == ("drift", None)
    assert found.delay_s is not None
    assert DAY <= found.delay_s <= 4 * DAY
    assert (judged.alarms, judged.false_alarms, judged.retrains) == (len(played.alarms), 0, ())


async def test_the_same_history_gives_the_same_course() -> None:
    history = stream(30, 60, turns=20)
    one, other = [await tried(history) for _ in range(2)]
    assert one[1] == other[1]
    assert one[0].course.answers[900:].tobytes() == other[0].course.answers[900:].tobytes()
