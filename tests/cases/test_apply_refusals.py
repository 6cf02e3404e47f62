"""`apply` refuses what cannot work, and names file, line, the wrong argument and the way out."""

from pathlib import Path

import pytest
from tests.cases.declared_projects import PROJECT, checked, spoiled

from headrace.errors import Misconfigured

# old text, new text (the message must point at its first line), expected message
WRONG = [
    # names
    ('    "late",\n    unit="flight"', '    "a/b",\n    unit="flight"', "deployment 'a/b': a deployment's name is 1 to"),
    ('    "late",\n    unit="flight"', '    "",\n    unit="flight"', "deployment '': a deployment's name is 1 to 100"),
    ('    "flights",\n', '    "",\n', "project '': a project's name is 1 to 100"),
    ('    "landings",\n', '    "My Source/é",\n', "source 'My Source/é': a source's name is 1 to 100"),
    ('unit="flight"', 'unit=""', "deployment late: unit must have 1 to 200 characters"),
    # inputs
    ('Number("hour", low=0, high=23)', 'Number("hour", low=5, high=1)', "hour must lie in low..high, got low 5"),
    ('Number("hour", low=0, high=23)', 'Number("hour", low="a")', "low of Number 'hour' must be a number, got 'a'"),
    ('Number("miles", 10, 6000)', 'Number("hour", 10, 6000)', "'hour' is declared twice"),
    ('Number("miles", 10, 6000)', 'Number("miles", float("nan"))', "low of miles must be a finite number, got nan"),
    ('Category("dest"),', '"dest",', "inputs[2] must be Number(...) or Category(...) or Key(...), got 'dest'"),
    ('Category("dest"),', 'Number("carrier.landed"),', "input 'carrier.landed' has the name of a feature of view carrier"),
    # features
    ('carrier.by("carrier")', 'carrier.by("carier")', "carrier.by('carier') names no input; add Key('carier')"),
    ('carrier.by("carrier")', 'carrier.by("carrier", "dest")', "carrier.by(...) needs 1 fields ('carrier',), got"),
    ('        carrier.by("carrier"),', "        carrier,", "got the view itself: write carrier.by('carrier')"),
    ("views=[carrier]", "views=[]", "view 'carrier' is not in the project's views=[...]"),
    ('Mean("delay", "3h")', 'Mean("delay", "7m")', "the window of delay_3h must be a multiple of 300 s, got 420 s"),
    ('Mean("delay", "3h")', 'Mean("dealy", "3h")', "delay_3h needs a number or flag, and 'dealy' of landings is not"),
    ('Mean("delay", "3h")', 'Mean("delay", "soon")', "window of delay_3h is no duration: a duration is written like"),
    ('stale_after="2h"', 'stale_after="0s"', "stale_after of landed must be at least 1 s"),
    ('key="carrier"', 'key="carier"', "source landings: key='carier' is not a field of Landing"),
    ('event_time="at"', 'event_time="carrier"', "event_time='carrier' must be a datetime or float field of Landing"),
    ('available_after="1h"', "available_after=-1", "available_after must be at least 0 s"),
    ("partitions=2,", "partitions=0,", "raw stream feed: partitions must lie in 1..1,000, got 0"),
    ("r.miles / 60", "r.mile / 60", "derived column 'speed' reads ['mile']"),
    ("r.miles / 60", "r.dest / 60", "derived column 'speed' computes with 'dest', which is a text"),
    ('feature_delay="15m"', 'feature_delay="40d"', "feature_delay must be at least 0 s and at most 31 d"),
    # pipelines
    ('limit="30s"', 'limit="0s"', "pipeline land: limit must be at least 0.01 s"),
    ('to=[landings, outcomes("late")]', 'to=[landings, outcomes("lat")]', "outcomes('lat') names no deployment"),
    ("sources=[landings]", "sources=[]", "view carrier: source 'landings' is not in the project's sources=[...]"),
    ("async def land(messages)", "async def land(messages, carriers)", "its function is called with (messages), and"),
    # label
    ('horizon="12h"', 'horizon="0s"', "the label's horizon must be at least 1 s"),
    ('horizon="12h"', 'horizon="half a day"', "horizon of Binary 'late' is no duration: a duration is written like"),
    ('absent="unknown"', 'absent="negativ"', "absent must be unknown or negative, got 'negativ'"),
    ('absent="unknown"', 'classes=["a", "b", "c"]', "Binary has two classes, the negative one first, got 3"),
    ('absent="unknown"', 'classes=["a", "a"]', "a class of the label 'late' is named twice"),
    # fallback
    ("prior(0.25)", "prior(25)", "prior is a probability and must lie in 0..1, got 25 (percent?)"),
    ("prior(0.25)", "prior", "got the function prior: write prior(...)"),
    ("        previous,", "        previous, previous,", "a step of the fallback is declared twice: previous, previous"),
    ("degrade_when=0.5", "degrade_when=50", "degrade_when must lie in 0..1, got 50 (percent?)"),
    # training
    ('history="180d"', 'history="8d"', "history 8d leaves no rows to fit on: horizon 12h + holdout 7d + embargo 1d = 8.5d"),
    ("min_rows=1000", "first_after_rows=500", "first_after_rows 500 is fewer than min_rows 1,000 to fit on"),
    ("min_rows=1000", "min_rows_after_change=0", "training's min_rows_after_change must lie in 1.."),
    ("not_worse_than_champion(0.02)", 'beats_prior(unmeasured="pass")', "unmeasured of beats_prior must be blocks or passes"),
    ('cooldown="7d"', "unhelpful=0", "retraining's unhelpful must lie in 1..1,000, got 0"),
    ('holdout="7d"', 'holdout="0s"', "training's holdout must be at least 1 s"),
    ('embargo="1d"', "embargo=-1", "training's embargo must be at least 0 s"),
    ("min_rows=1000", "min_rows=0", "training's min_rows must lie in 1..1,000,000,000, got 0"),
    ("min_rows=1000", 'min_rows="1000"', "min_rows of Training must be a whole number, got '1000'"),
    ("seed=3", "seed=-3", "training's seed must lie in 0.."),
    ("        build,", '        "build",', "build of Training must be a function, got 'build'"),
    ("        build,", "        lambda: None,", "training's build is called as build(signature), and takes ()"),
    # gates
    ("beats_prior(margin=0.01)", "beats_prior(margin=1)", "is in nats, below 0.693, got 1: no version can pass"),
    ("beats_prior(margin=0.01)", "beats_prior(margin=-0.1)", "lets a version pass that is worse than the prior"),
    ("not_worse_than_champion(0.02)", "not_worse_than_champion(5)", "below 0.693, got 5: every version would pass"),
    ("not_worse_than_champion(0.02)", "beats_prior(0.02)", "gate beats_prior is declared twice"),
    ("        beats_prior(margin=0.01),", "        beats_prior,", "got the function beats_prior: write beats_prior(...)"),
    # monitoring
    ('            "log_loss"', '            "rmse"', "a detector of Binary follows log_loss or brier or auc or accuracy"),
    ('            "log_loss"', '            "logloss"', "got 'logloss': did you mean 'log_loss'?"),
    ("threshold=0.8", "threshold=0", "a detector's delta must be at least 0 and its threshold above 0, got 0.02, 0"),
    ("delta=0.02", "delta=-0.02", "a detector's delta must be at least 0"),
    ("min_windows=7", "min_windows=0", "a detector's min_windows must lie in 1..1,000,000, got 0"),
    ("        PageHinkley(", "        LossChange(windows=2), PageHinkley(", "LossChange(windows=...) must be at least 3, got 2"),
    ("        PageHinkley(", "        LossChange(rise=-1), PageHinkley(", "a detector's rise must be at least 0 and its limit above 0, got -1, 3.0"),
    ("        PageHinkley(", "        Adwin(min_windows=3), PageHinkley(", "Adwin(min_windows=...) must be at least 10 and its delta"),
    ("        PageHinkley(", "        Charts(), Charts(), PageHinkley(", "Charts() is in monitoring twice; one holds all charts"),
    ("        PageHinkley(", '        Charts(pages="one a month"), PageHinkley(', "Charts(pages=...) is written like '1 per month'"),
    ("        PageHinkley(", '        Charts(pages="9 per day"), PageHinkley(', "Charts(pages=...) allows 9 false pages per 1d: more than one"),
    ("        PageHinkley(", '        Charts(segments=["carier"]), PageHinkley(', "got 'carier': did you mean 'carrier'?"),
    ("        PageHinkley(", '        Charts(segments=["dest", "dest"]), PageHinkley(', "names dest, dest: name each once"),
    ("        PageHinkley(", '        Charts(season="12h"), PageHinkley(', "season 12h is not longer than evaluation_window 1d"),
    ("        PageHinkley(", "        Charts(windows=3), PageHinkley(", "Charts(windows=...) must be at least 8, got 3"),
    ("        PageHinkley(", "        LossChange(), LossChange(), PageHinkley(", "the same detector is in monitoring twice"),
    ('evaluation_window="1d"', 'evaluation_window="0s"', "evaluation_window must be at least 1 s and at most 366 d"),
    ('evaluation_window="1d"', 'evaluation_window="200d"', "evaluation_window 200d is longer than history 180d"),
    ("coverage=0.98", "coverage=98", "coverage must lie in 0..1, got 98 (percent?)"),
    # retraining
    ('on=["drift", "skew"]', 'on=["drfit"]', "got 'drfit': did you mean 'drift'? There are drift, skew, contract"),
    ('on=["drift", "skew"]', "on=[]", "on=[] retrains on nothing; there are drift, skew"),
    ('on=["drift", "skew"]', 'on="drift"', "on of Retraining must be a list, got 'drift': put it into brackets"),
    ('on=["drift", "skew"]', 'on=["drift"], cron="0 3 * *"', "a cron expression has five fields (minute, hour, day, month, day of the week), got '0 3 * *'"),
    ('on=["drift", "skew"]', 'on=["drift"], cron="0 25 * * 1"', "cron '0 25 * * 1': bad hour"),
    ('on=["drift", "skew"]', 'on=["drift"], cron="0 3 * * *"', "retraining's cron '0 3 * * *' comes 1 d after itself, within its own cool-down: name a longer time"),
    ('on=["drift", "skew"]', 'on=["drift"], every="3d"', "retraining every 3 d is within its own cool-down: name a longer time, or a shorter cooldown=... (now 7 d)"),
    ('on=["drift", "skew"]', 'on=["drift"], every="9d", cron="0 3 * * 1"', "retraining has every= and cron=; one of them is enough"),
    ('on=["drift", "skew"]', 'on=["drift"], after_rows=0', "retraining's after_rows must lie in 1..1,000,000,000, got 0"),
    ('cooldown="7d"', "cooldown=-7", "retraining's cooldown must be at least 0 s"),
    # rollout
    ("shares=[0.05, 0.25, 1]", "shares=[0.25, 0.05, 1]", "shares must grow from step to step"),
    ("shares=[0.05, 0.25, 1]", "shares=[5, 25, 100]", "shares must lie in 0..1, got (5, 25, 100) (percent?)"),
    ("shares=[0.05, 0.25, 1]", "shares=[0.05, 0.25]", "shares must end with 1, got (0.05, 0.25)"),
    ("shares=[0.05, 0.25, 1]", "shares=0.05", "shares of Canary must be a list, got 0.05"),
    ('label_delay="11h"', 'label_delay="13h"', "label_delay 13h is longer than the label's horizon 12h"),
    ('step="6h"', "step=-6", "rollout step must be at least 0 s"),
    ('Guardrail("errors", 0.02)', 'Guardrail("error", 0.02)', "guardrails know errors, invalid_scores, latency, degraded"),
    ('Guardrail("errors", 0.02)', 'Guardrail("errors", 2)', "guardrail errors: limit is a share below 1, got 2 (percent?)"),
    ('Guardrail("latency", 3.0)', 'Guardrail("latency", 0.5)', "guardrail latency: limit is a factor of the control's"),
    ('Guardrail("latency", 3.0)', 'Guardrail("errors", 0.03)', "guardrail errors is declared twice"),
    # breaker
    ('slow="2s"', 'slow="9s"', "slow 9s is not below time_limit 5s: a call is ended before it counts as slow"),
    ("failure_share=0.5", "failure_share=50", "failure_share=...) must lie in 0..1, got 50 (percent?)"),
    ("min_calls=3", "min_calls=300", "breaker counts must be at least 1, and min_calls at most window_calls"),
    ("window_calls=100", "window_calls=0", "breaker counts must be at least 1"),
    ('time_limit="5s"', "time_limit=0", "time_limit must be at least 0.001 s"),
]  # fmt: skip

BINARY = """    label=Binary(
        "late",
        horizon="12h",
        absent="unknown",
    ),
"""
# old text, new text, the line that the message must point at, expected message
CONTRADICTIONS = [
    (BINARY, "", "    training=Training(", "deployment late: training needs a label, such as label=Binary"),
    ("    training=Training(\n        build,\n        history=\"180d\",\n        holdout=\"7d\",\n        embargo=\"1d\",\n"
     "        first_after=\"30d\",\n        min_rows=1000,\n        seed=3,\n    ),\n", "",
     "    gates=[", "gates judge the versions that are trained here: add training=Training(build)"),
    (PROJECT[PROJECT.index("    monitoring=") : PROJECT.index("    retraining=")], "", '        on=["drift", "skew"],',
     "without monitoring=[Charts()] there is no finding 'drift' to retrain on"),
    (BINARY, '    label=Regression("delay", low=90, high=0, horizon="12h"),\n',
     '    label=Regression("delay", low=90, high=0, horizon="12h"),', "the label must lie in low..high, got low 90"),
    (PROJECT[PROJECT.index("    label=") : PROJECT.index("    training=")],
     '    label=Multiclass("kind", classes=["a"], horizon="12h"),\n    fallback=[baseline],\n',
     '    label=Multiclass("kind", classes=["a"], horizon="12h"),', "Multiclass needs at least two classes, got 1"),
    (BINARY, '    label=Multiclass("kind", classes=["a", "b"], horizon="12h"),\n', "        prior(0.25),",
     "prior of several classes needs a probability for each"),
    (BINARY, '    label=Regression("delay", low=1, high=90, horizon="12h"),\n', "        prior(0.25),",
     "prior must lie in the label's range"),
    (BINARY, '    label="late",\n', '    label="late",', "label must be Binary(...) or Multiclass(...) or Regression(...)"),
    ("    raw=[feed],\n", "", "project = Project(", "raw stream 'feed' is not in the project's raw=[...]"),
]  # fmt: skip


def faulty_line(folder: Path, text: str, message: str) -> str:
    """The line of text that the refusal points at. The refusal may report at most one more fault, which is true too."""
    with pytest.raises(Misconfigured) as refused:
        checked(folder, text)
    *_, last = lines = str(refused.value).splitlines()
    faults = [last] if len(lines) == 1 else [line.strip() for line in lines[1:]]
    assert len(faults) <= 2, faults
    (found,) = (fault for fault in faults if message in fault)
    file, _, line = found.partition(": ")[0].rpartition(":")
    assert file.startswith(str(folder)), f"no file and line: {found}"
    return text.splitlines()[int(line) - 1]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[f"{new.strip()[:40]}" for _, new, _ in WRONG])
def test_a_wrong_argument_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    line = faulty_line(tmp_path, spoiled(old, new), message)
    assert line.strip() in {part.strip() for part in new.splitlines()} or new.strip() in line


@pytest.mark.parametrize(
    ("old", "new", "points_at", "message"),
    CONTRADICTIONS,
    ids=lambda found: str(found)[:30],
)
def test_what_contradicts_is_refused_with_the_line_of_what_must_change(
    tmp_path: Path, old: str, new: str, points_at: str, message: str
) -> None:
    line = faulty_line(tmp_path, spoiled(old, new), message)
    assert line == points_at


def test_the_table_is_as_long_as_was_promised() -> None:
    assert len(WRONG) + len(CONTRADICTIONS) >= 60


def test_the_project_that_is_spoiled_is_right(tmp_path: Path) -> None:
    assert checked(tmp_path, PROJECT).definition.name == "flights"
