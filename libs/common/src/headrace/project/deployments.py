"""Deployments: what answers requests, and every policy around it. Only `name`, `unit` and `inputs` are required."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.project.derived import Derived
from headrace.project.views import Binding


@dataclass(frozen=True)
class Number:
    """A numeric input within inclusive limits, compared in float32 as the model sees it; None for no limit. `nullable`: may be missing."""

    name: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False


@dataclass(frozen=True)
class Category:
    """A text input that the model sees as a code of the version's vocabulary; an unknown value is NaN, and counted."""

    name: str
    nullable: bool = False


@dataclass(frozen=True)
class Key:
    """A text or number that only binds feature views: the model never sees it."""

    name: str
    nullable: bool = True


Input = Number | Category | Key


@dataclass(frozen=True)
class Binary:
    """A label of 0 or 1. `horizon`: how late it may come. `absent`: what no label by then means, `unknown` or `negative`.

    `classes`: what 0 and 1 are called, in this order, such as `("no", "yes")`; labels may then be given by name as well.
    """

    name: str
    horizon: str | float
    absent: str = "unknown"
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Multiclass:
    """A label that is one of several classes. `classes`: their names; `horizon`: how late it may come."""

    name: str
    classes: Sequence[str]
    horizon: str | float


@dataclass(frozen=True)
class Regression:
    """A label that is a number from `low` to `high`, inclusive. `horizon`: how late it may come."""

    name: str
    low: float
    high: float
    horizon: str | float


LabelKind = Binary | Multiclass | Regression


@dataclass(frozen=True)
class Training:
    """How a version is trained.

    `build(signature)`: returns an unfitted scikit-learn classifier; `signature.columns` names the columns of the
    float32 matrix that `fit(X, y)` gets, and which of them are categories. `build(signature, seed)` gets `seed` too; without it
    `random_state` is set wherever it was left None. `history`: age of the oldest row. `holdout`, `embargo`: the newest rows, kept to gate on,
    and those before them that are left out; both shrink while they would take more than a third of what there is. `first_after`,
    `first_after_rows`: the first version is asked for after so much time, or as soon as there are so many labelled rows.
    `min_rows_after_change`: how many labelled rows a retrain that follows a change waits for; None: 1,000, or a tenth of the
    history's rows, whichever is less.
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
    """A test that a version must pass before traffic; see `beats_prior` and `not_worse_than_champion`.

    `unmeasured`: what it means that it should have compared and could not, `blocks` or `passes`.
    """

    kind: str
    margin: float = 0.0
    unmeasured: str = "blocks"


def beats_prior(margin: float = 0.0, unmeasured: str = "blocks") -> Gate:
    """The loss on the holdout is lower than the prior's by more than `margin`, by the lower bound of the gain (one-sided, 95 %).

    The loss is log-loss, in nats; of a number the squared error, in variances of the labels: their mean then costs 1.
    """
    return Gate("beats_prior", margin, unmeasured)


def not_worse_than_champion(margin: float = 0.005, unmeasured: str = "blocks") -> Gate:
    """The loss on the holdout (see `beats_prior`) is not higher than the champion's by more than `margin`, on the same rows, by its
    upper bound (one-sided, 95 %). Where the rows cannot tell, a canary, A/B test or shadow does; without one the version is
    registered and not switched.
    """
    return Gate("not_worse_than_champion", margin, unmeasured)


@dataclass(frozen=True)
class PageHinkley:
    """Page's cumulative test (Page 1954; Hinkley 1971) for a rise of a closed evaluation window's figure, started anew with each champion.

    `figure`: None for the loss of the label's kind. `threshold`: of a sum over evaluation windows, of what lies more than `delta` above the mean.
    """

    figure: str | None = None
    delta: float = 0.02
    threshold: float = 0.8
    min_windows: int = 7


@dataclass(frozen=True)
class LossChange:
    """The champion's loss, and its excess over the loss that its own scores lead one to expect, have both risen above their first windows.

    It knows how many rows a window has: no threshold depends on their number, nor on the windows' width. `rise`: the least rise that counts, as a share of
    the loss before. `limit`: of the cumulative sum of standardised rises; at 3 a champion without a change runs some 2,000
    windows until a false alarm, at 5 some 100,000. `windows`: how many come before the first comparison, at least 3.
    """

    rise: float = 0.02
    limit: float = 3.0
    windows: int = 5


@dataclass(frozen=True)
class Retraining:
    """Ask for a new version on these kinds of findings, at most one per `cooldown` of event time; runs that end without a version do not count.

    A finding stays open until the figure is back, and asks again meanwhile; after `unhelpful` retrains that did not bring it
    back it stops asking, under an alert. A version that follows a change is followed up, without a pause, each time that the rows after it have grown by
    half (fivefold where older rows stayed), until there are ten times `min_rows_after_change`.
    """

    on: Sequence[str] = ("drift",)
    cooldown: str | float = "7d"
    unhelpful: int = 3


@dataclass(frozen=True)
class Guardrail:
    """A limit that needs no labels, on a version under rollout, against its control in the same blocks.

    `metric`: `errors`, `invalid_scores`, `latency`, `degraded` or `distribution`. `limit`: the most by which the version
    may be worse (a share; for `latency` a factor, for `distribution` a distance). `consecutive`: so many failures in a row
    fail at once, 0 for never. `dry_run`: judged and told, but without effect.
    """

    metric: str
    limit: float
    consecutive: int = 0
    dry_run: bool = False


# What every rollout that is compared with a control is held to, unless the project says otherwise.
GUARDRAILS = (
    Guardrail("errors", 0.02, consecutive=20),
    Guardrail("invalid_scores", 0.01, consecutive=20),
    Guardrail("latency", 3.0),
    Guardrail("degraded", 0.05),
    Guardrail(
        "distribution", 0.5
    ),  # a good retrain of stale flights lies at .23, a day of it at .43; bad ones at .51-.63
)


@dataclass(frozen=True)
class BlueGreen:
    """Load and warm the new version everywhere, then switch at once; `shadow_previous`: the old one scores along.

    `rollback_window`: event time for which the new version is judged still; `guardrails`: by what. `approval`: a named
    person must approve a version first (`headrace model approve`).
    """

    shadow_previous: bool = True
    rollback_window: str | float = "7d"
    guardrails: Sequence[Guardrail] = ()
    approval: bool = False


@dataclass(frozen=True)
class Canary:
    """Give the new version growing shares of the traffic while evidence allows it; take them away by evidence of harm.

    `shares`: the steps, the last of them 1. A step takes at the least `step` of event time and `min_decisions` of the new
    version. `shadow_first`: event time of paired scoring before the first share. `alpha`: error rate of rolling back a
    version that does no harm, over the whole rollout. `margin`: the Brier difference up to which a version counts as not
    worse. `block`: width of the blocks of label evidence; `label_delay`: by when nearly all labels are there (None: the label's
    horizon): the shorter, the sooner there is a decision. `silence`: wall time without a verdict after which the rollout is
    paused; after twice that it is aborted.
    """

    shares: Sequence[float] = (0.01, 0.05, 0.25, 1.0)
    step: str | float = "6h"
    min_decisions: int = 20
    shadow_first: str | float = 0.0
    alpha: float = 0.05
    margin: float = 0.01
    block: str | float = "1h"
    label_delay: str | float | None = None
    guardrails: Sequence[Guardrail] = GUARDRAILS
    silence: str | float = "5m"
    rollback_window: str | float = "7d"
    approval: bool = False


@dataclass(frozen=True)
class ABTest:
    """Split the units between champion and new version for `duration` of event time; a unit sees one of them throughout.

    `winner`: `rule` promotes the version if it is shown to be better, and ends without effect if not; `hand` waits for
    `headrace rollout promote` or `abort`. The rest as in `Canary`.
    """

    share: float = 0.5
    duration: str | float = "7d"
    winner: str = "hand"
    alpha: float = 0.05
    margin: float = 0.01
    block: str | float = "1h"
    label_delay: str | float | None = None
    guardrails: Sequence[Guardrail] = GUARDRAILS
    silence: str | float = "5m"
    rollback_window: str | float = "7d"
    approval: bool = False


@dataclass(frozen=True)
class Shadow:
    """Let the new version score all traffic beside the champion for `duration` of event time, without effect on answers."""

    duration: str | float = "7d"
    alpha: float = 0.05
    margin: float = 0.01
    block: str | float = "1h"
    label_delay: str | float | None = None
    guardrails: Sequence[Guardrail] = GUARDRAILS
    silence: str | float = "5m"
    approval: bool = False


Rollout = BlueGreen | Canary | ABTest | Shadow


@dataclass(frozen=True)
class Breaker:
    """When a version is not asked any more: shares of the calls of the last `window` that failed, or took `slow` or longer.

    It counts `window_calls` at most and decides on `min_calls` at least; then the version rests `rest`, and `probes`
    calls that are well bring it back.
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
    """The last step: a constant that needs no model and no features.

    `value`: the probability of the positive class, or the number; of several classes a probability each, by name
    (`prior({"cat": 0.2, "dog": 0.8})`) or in the label's order.
    """
    return FallbackStep("prior", value)


@dataclass(frozen=True)
class Deployment:
    """What answers requests.

    `unit`: the name of what a request is about, and what traffic is split by. `inputs`: the contract of a request.
    `features`: views bound to request fields. `derived`: columns computed of inputs and features at request time.
    `feature_delay`: the pipeline lag allowed for, in training and serving alike.
    `evaluation_window`: width of the windows in which labels are read; one closes when `coverage` of its labels have come, or their horizon
    has passed: then half of them (or `coverage`, where that is less) are enough for it to be judged.
    `answer`: `committed` replies after the decision is committed, `fast` before.
    `time_limit`: how long one call of a model may take. `breaker`: when a version is not asked any more. `degrade_when`:
    the share of view features that may be missing or stale; a request with more goes down to the baseline. None: it is served, and marked.
    `owner`, `intended_use`: for model cards. `step_down_after`: for so many windows in a row a version must do worse than the
    `prior(...)` of the fallback chain before requests pass over it, until it does better again; None: never.
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
    monitoring: Sequence[PageHinkley | LossChange] = ()
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
