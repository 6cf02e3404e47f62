"""Deployments: what answers requests, and every policy around it. Only `name`, `unit` and `inputs` are required."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.project.derived import Derived
from headrace.project.fields import Input, LabelKind
from headrace.project.monitoring import Watch
from headrace.project.views import Binding


@dataclass(frozen=True)
class Training:
    """How a version is trained.

    - `build(signature)` returns an unfitted scikit-learn estimator. `signature.columns` names the columns of the
      float32 matrix that `fit(X, y)` gets, and which of them are categories. `build(signature, seed)` gets `seed` too;
      without it, `random_state` is set wherever it was left None.
    - `history`: the age of the oldest row.
    - `holdout`: the newest rows, kept for the gates. `embargo`: the rows before them, which are left out. Both shrink
      while they would take more than a third of the rows.
    - `first_after`, `first_after_rows`: the first version is requested after so much time, or as soon as there are so
      many labelled rows.
    - `min_rows`: the least number of labelled rows to fit on.
    - `min_rows_after_change`: how many labelled rows a retrain that follows a change waits for; None for 1,000 or a
      tenth of the history's rows, whichever is less.
    """

    build: Callable[..., Any]
    history: str | float = "180d"
    holdout: str | float = "7d"
    embargo: str | float = "1d"
    first_after: str | float = "30d"
    min_rows: int = 1000
    seed: int = 0
    first_after_rows: int | None = None
    min_rows_after_change: int | None = None


@dataclass(frozen=True)
class Gate:
    """A test that a version must pass before it takes traffic; see `beats_prior` and `not_worse_than_champion`.

    `unmeasured`: what follows when the gate could not compare, `blocks` or `passes`.
    """

    kind: str
    margin: float = 0.0
    unmeasured: str = "blocks"


def beats_prior(margin: float = 0.0, unmeasured: str = "blocks") -> Gate:
    """The loss on the holdout is lower than the prior's by more than `margin`.

    The lower bound of the gain decides (one-sided, 95 %). The loss is log-loss in nats; of a number it is the squared
    error in variances of the labels, so that their mean costs 1.
    """
    return Gate("beats_prior", margin, unmeasured)


def not_worse_than_champion(margin: float = 0.005, unmeasured: str = "blocks") -> Gate:
    """The loss on the holdout (see `beats_prior`) is not higher than the champion's by more than `margin`, on the same
    rows.

    The upper bound of the difference decides (one-sided, 95 %). Where the rows do not suffice, a canary, A/B test or
    shadow decides; without one of these the version is registered and not switched.
    """
    return Gate("not_worse_than_champion", margin, unmeasured)


@dataclass(frozen=True)
class Retraining:
    """Requests a new version on these kinds of findings, and by a schedule in event time where one is given.

    - `on`: `drift`, `skew`, `contract`, `traffic` or `inputs`; none with `on=()`. Inputs may move without harm, so
      `inputs` is for deployments whose labels come too late.
    - `every`: so much event time after the newest version was asked for, such as `"30d"`.
    - `cron`: at the instants of a cron expression in UTC, such as `"0 3 * * 1"` for Mondays at 03:00.
    - `after_rows`: when so many labelled rows have come since the newest version was asked for.
    - `cooldown`: the least event time between two runs; runs that end without a version do not count.
    - `unhelpful`: a finding stays open until the figure is back, and requests again meanwhile. After so many retrains
      that did not bring it back, it stops with an alert.

    A version that follows a change is trained again, without a pause, each time that the rows after the change have
    grown by half (fivefold where older rows stayed), until there are ten times `min_rows_after_change`.
    """

    on: Sequence[str] = ("drift",)
    cooldown: str | float = "7d"
    unhelpful: int = 3
    every: str | float | None = None
    cron: str | None = None
    after_rows: int | None = None


@dataclass(frozen=True)
class Guardrail:
    """A limit on a version under rollout that needs no labels. The version is compared with its control in the same
    blocks.

    - `metric`: `errors`, `invalid_scores`, `latency`, `degraded`, `distribution` or `rank_correlation`.
    - `limit`: the most by which the version may be worse: a share, for `latency` a factor, for `distribution` a
      distance; for `rank_correlation` the least correlation with the control.
    - `consecutive`: so many failures in a row fail at once, 0 for never.
    - `dry_run`: it is judged and reported, but has no effect.
    """

    metric: str
    limit: float
    consecutive: int = 0
    dry_run: bool = False


# The guardrails of a rollout with a control, unless the project declares others.
GUARDRAILS = (
    # Two points more than the control's errors are found within 2,000 requests.
    Guardrail("errors", 0.002, consecutive=20),
    Guardrail("invalid_scores", 0.002, consecutive=20),
    Guardrail("latency", 3.0),
    Guardrail("degraded", 0.05),
    # Over 500 requests of the flight year good retrains of a stale model measure up to .48, for labels that come in 1 of 200 flights
    # up to .70; flipped ones .77 to .90 at the median.
    Guardrail("distribution", 0.7),
    # Good retrains, and other model families, measure .36 and more in each week of the flight year, shuffled ones at most .16.
    Guardrail("rank_correlation", 0.2),
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How a version under rollout is judged; every policy takes these arguments, by name.

    - `alpha`: the error rate, over the whole rollout, of taking traffic from a version that does no harm.
    - `margin`: the difference in the bounded score (Brier; for numbers the absolute error as a share of the declared
      range) up to which a version counts as not worse. None: .01, or a tenth of what the champion gains over a constant
      in the same score, whichever is less.
    - `ranking_limit`: the part of what the champion's ranking is worth (its AUC, or concordance of numbers, less .5) from
      whose loss on the ranking test rejects a version: .4 of an AUC of .75 is a loss of .1.
    - `season`: the cycle after which traffic repeats itself: `"1d"`, `"7d"`, or None where it does not. Only whole cycles
      count for the level test, and `min_cycles` of them at the least.
    - `block`: the width of a block of requests, a part of the season. `label_delay`: the time by which nearly all labels
      are there (None: the label's horizon); later ones are used when they come.
    - `missing`: labels that never come count as the `"worst"` for each test, or as missing `"at_random"`.
    - `guardrails`: limits that need no labels. `silence`: the wall time without a verdict after which the rollout is
      paused; after twice that it is aborted.
    - `give_up_after`: the event time after which a canary, or an A/B test by hand, ends that nothing has decided.
    - `approval`: a named person must approve a version first (`headrace model approve`); `"another"`: not its author.
    """

    alpha: float = 0.05
    margin: float | None = None
    ranking_limit: float = 0.4
    season: str | float | None = "1d"
    min_cycles: int = 14
    block: str | float = "1h"
    label_delay: str | float | None = None
    missing: str = "worst"
    guardrails: Sequence[Guardrail] = GUARDRAILS
    silence: str | float = "5m"
    give_up_after: str | float = "60d"
    approval: bool | str = False


@dataclass(frozen=True)
class BlueGreen(Judged):
    """Loads and warms the new version everywhere, then switches at once.

    - `shadow_previous`: the old version scores the same requests without answering them, beyond the rollback window
      too. Without it labels have nothing to compare with.
    - `rollback_window`: the event time after the switch in which the new version is still judged, and rolled back on
      evidence of harm. None: a week, and the label's horizon before it.
    """

    shadow_previous: bool = True
    rollback_window: str | float | None = None


@dataclass(frozen=True)
class Canary(Judged):
    """Gives the new version growing shares of the traffic on evidence, and takes them back on evidence of harm.

    - `shares`: the steps, the last of them 1. A step takes at least `step` of event time and `min_decisions` of the new
      version.
    - `shadow_first`: event time of paired scoring before the first share.
    - `without_labels`: where no label can judge the version, it takes all traffic when a named person approves it
      (`"approval"`, see `headrace model approve`), or by its guardrails alone (`"promote"`).
    - `rollback_window`: as in `BlueGreen`.
    """

    shares: Sequence[float] = (0.01, 0.05, 0.25, 1.0)
    step: str | float = "6h"
    min_decisions: int = 20
    shadow_first: str | float = 0.0
    without_labels: str = "approval"
    rollback_window: str | float | None = None


@dataclass(frozen=True)
class ABTest(Judged):
    """Splits the units between champion and new version for `duration` of event time. A unit always gets the same
    version.

    `winner`: `rule` promotes the version if it is shown to be better, and ends without effect if not; `hand` waits for
    `headrace rollout promote` or `abort`.
    """

    share: float = 0.5
    duration: str | float = "21d"
    winner: str = "hand"
    rollback_window: str | float | None = None


@dataclass(frozen=True)
class Shadow(Judged):
    """Lets the new version score all traffic beside the champion for `duration` of event time, without effect."""

    duration: str | float = "21d"


Rollout = BlueGreen | Canary | ABTest | Shadow


@dataclass(frozen=True)
class Breaker:
    """When a version is no longer called: limits on the shares of the last calls that failed or were slow.

    - `slow`: a call counts as slow from this duration on.
    - `window`, `window_calls`, `min_calls`: the calls of so much time count, at most and at least so many.
    - `rest`, `probes`: an open breaker waits for `rest`; then so many good calls close it.
    """

    failure_share: float = 0.5
    slow_share: float = 0.8
    slow: str | float = "1s"
    window: str | float = "30s"
    window_calls: int = 100
    min_calls: int = 3
    rest: str | float = "10s"
    probes: int = 3


@dataclass(frozen=True)
class FallbackStep:
    """A step of the fallback chain below the champion."""

    kind: str
    value: float | Mapping[str, float] | Sequence[float] | None = None


previous = FallbackStep("previous")
baseline = FallbackStep("baseline")


def prior(value: float | Mapping[str, float] | Sequence[float]) -> FallbackStep:
    """The last step of the fallback chain: a constant that needs no model and no features.

    `value`: the probability of the positive class, or the number. Several classes need one probability each, by name
    (`prior({"cat": 0.2, "dog": 0.8})`) or in the label's order.
    """
    return FallbackStep("prior", value)


@dataclass(frozen=True)
class Deployment:
    """What answers requests.

    - `unit`: the name of what a request is about, and by which traffic is split.
    - `inputs`: the contract of a request.
    - `features`: views bound to fields of the request.
    - `derived`: columns computed from inputs and features at request time.
    - `label`: what is predicted; None for a deployment without outcomes.
    - `feature_delay`: the pipeline lag that is allowed for, in training and serving alike.
    - `fallback`: the steps of the fallback chain below the champion.
    - `monitoring`: what watches closed windows: `Charts()`, and single detectors.
    - `evaluation_window`: the width of the windows in which labels are read. A window closes when `coverage` of its
      labels have come, or when their horizon has passed; then half of them (or `coverage`, where that is less) are
      enough to judge it.
    - `answer`: `committed` replies after the decision is committed, `fast` before.
    - `time_limit`: the limit of one call of a model.
    - `breaker`: when a version is no longer called.
    - `degrade_when`: the share of view features that may be missing or stale. A request with more is answered by the
      baseline. None: it is answered, and marked.
    - `owner`, `intended_use`: texts for model cards.
    - `efficacy`: for so much event time after each switch of the champion it is compared with the one before it, on the
      same requests, where that one scores along (`shadow_previous`). None: never.
    - `audit_share`: a share of the units, 0 to .5, whose labelled rows are compared with all others as if they had a
      version of their own (an A/A arm, without a second model call). How often that shows a difference, and would roll
      back, is published. 0: no arm.
    - `step_down_after`: when a version does worse than the `prior(...)` of the fallback chain in so many windows in a
      row, requests pass over it until it does better again. None: never.
    - `metrics`: further metrics of closed windows, per version and role: names such as `"average_precision"` (a scorer
      or function of scikit-learn), `"calibration_error"` or `"pinball@.9"`, and functions of the project
      `f(labels, scores) -> float`.
    - `slices`: categories (or keys that bind a view alone) by whose frequent values the metrics are computed too.
    """

    name: str
    unit: str
    inputs: Sequence[Input]
    features: Sequence[Binding] = ()
    derived: Sequence[Derived] = ()
    label: LabelKind | None = None
    feature_delay: str | float = "15m"
    fallback: Sequence[FallbackStep] = ()
    training: Training | None = None
    gates: Sequence[Gate] = (beats_prior(),)
    monitoring: Sequence[Watch] = ()
    retraining: Retraining | None = None
    rollout: Rollout = field(default_factory=BlueGreen)
    evaluation_window: str | float = "1d"
    coverage: float = 0.98
    answer: str = "committed"
    model: str | None = None
    breaker: Breaker = field(default_factory=Breaker)
    time_limit: str | float = "5s"
    degrade_when: float | None = None
    owner: str = ""
    intended_use: str = ""
    step_down_after: int | None = 3
    efficacy: str | float | None = "14d"
    audit_share: float = 0.0
    metrics: Sequence[str | Callable[..., Any]] = ()
    slices: Sequence[str] = ()
