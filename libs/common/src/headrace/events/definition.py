"""The compiled project: plain values with digests, which every service reads from `project.definitions`.

Only pipeline and trainer import the user's code, and a child process of the monitor that computes a project's metrics.
All other services use these values alone.
"""

import hashlib
from typing import Any

import msgspec

from headrace.events.charts import ChartsDefinition
from headrace.events.policies import DriftDefinition, RetrainingDefinition


class FieldSpec(msgspec.Struct, frozen=True):
    """One field of a source's event. `kind`: `number`, `integer`, `text`, `flag` or `instant`."""

    name: str
    kind: str
    nullable: bool = False


class RawStreamDefinition(msgspec.Struct, frozen=True):
    """A topic `raw.<name>.v1`, as the outside world sends it. `format`: `json` or `msgpack`."""

    name: str
    format: str
    partitions: int


class SourceDefinition(msgspec.Struct, frozen=True):
    """A topic `events.<name>.v1` whose events keep a contract.

    `event_time`: the field that holds when the event happened. `key`: the field that keys the record. An event may be
    used from the instant in the field `available_at`, or else from `event_time` plus `available_after_s`. `dedupe`: the
    field whose value is the same in an event and its repeats, which come at most `dedupe_within_s` apart.
    """

    name: str
    fields: tuple[FieldSpec, ...]
    event_time: str
    key: str
    partitions: int
    available_at: str | None = None
    available_after_s: float = 0.0
    dedupe: str | None = None
    dedupe_within_s: float = 86_400.0


class FeatureDefinition(msgspec.Struct, frozen=True):
    """One windowed aggregation.

    `aggregation`: count, sum, mean, share, min, max, std or last. `column`: the aggregated field, None for count.
    `default`: what a row holds where there is no value, None for NaN. `stale_after_s`: the age of the source's newest
    event above which the feature counts as stale, None for any age.
    """

    name: str
    aggregation: str
    column: str | None
    window_s: int
    default: float | None = None
    stale_after_s: float | None = None


class ViewDefinition(msgspec.Struct, frozen=True):
    """Aggregations of one source per entity.

    `entity`: the fields that name the entity, joined by `|`; empty for one entity over all events.
    """

    name: str
    source: str
    entity: tuple[str, ...]
    features: tuple[FeatureDefinition, ...]
    digest: str

    @property
    def key(self) -> str:
        """The name under which the view's tiles are kept. A changed view has another key, and is built beside the
        running one.
        """
        return f"{self.name}@{self.digest[:8]}"


class InputDefinition(msgspec.Struct, frozen=True):
    """One named value of a request. `kind`: `number`, `category`, or `key` (binds views, is never a column of the
    model).

    `low`, `high`: inclusive limits of a number, None for no limit. `nullable`: it may be missing or null (NaN in the
    row).
    """

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False


class BindingDefinition(msgspec.Struct, frozen=True):
    """A view that is looked up by a request's `fields`, in the order of the view's entity.

    `key`: the view's key. `kinds`: the kinds of the source's fields that name the entity, so that a request's 7.0 finds
    an integer field's 7.
    """

    view: str
    fields: tuple[str, ...]
    key: str = ""
    kinds: tuple[str, ...] = ()


class DerivedDefinition(msgspec.Struct, frozen=True):
    """A column that is computed at request time. `expression`: see `headrace.project.derived`."""

    name: str
    expression: Any


class LabelDefinition(msgspec.Struct, frozen=True):
    """What is predicted. `kind`: `binary`, `number` or `classes`.

    `horizon_s`: how late a label may come. `absent`: what a missing label means, `unknown` or `negative`. `classes`:
    their names in the order of their indices, the negative one first of two; () where they have no names. `low`,
    `high`: the inclusive range of a number.
    """

    name: str
    kind: str
    horizon_s: float
    absent: str = "unknown"
    classes: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


class FallbackStepDefinition(msgspec.Struct, frozen=True):
    """A step of the fallback chain below the champion. `kind`: `previous`, `baseline` or `prior`.

    A prior has a `value`, or for several classes `probabilities` in the order of the label's classes.
    """

    kind: str
    value: float | None = None
    probabilities: tuple[float, ...] = ()


class GateDefinition(msgspec.Struct, frozen=True):
    """A test that a version must pass before it takes traffic. `kind`: `beats_prior` or `not_worse_than_champion`.

    `margin`: in units of the label's loss. `unmeasured`: what follows when the gate cannot be measured.
    """

    kind: str
    margin: float = 0.0
    unmeasured: str = "blocks"


class TrainingDefinition(msgspec.Struct, frozen=True):
    """How versions are trained.

    `build`: `module:function` of the user's code. `holdout_s`: how much of the newest rows is kept for the gates.
    `embargo_s`: how much before the holdout is left out. The first version is requested after `first_after_s` of closed
    evaluation windows or after `first_after_rows` labelled rows (None: never by rows). `min_rows_after_change`: how
    many rows a retrain that follows a change waits for; None for 1,000 or a tenth of the history's rows, whichever is
    less.
    """

    build: str
    history_s: float
    holdout_s: float
    embargo_s: float
    first_after_s: float
    min_rows: int
    seed: int = 0
    first_after_rows: int | None = None
    min_rows_after_change: int | None = None


class GuardrailDefinition(msgspec.Struct, frozen=True):
    """A limit on a version under rollout that needs no label. The version is compared with the control in the same
    blocks.

    `metric`: `errors`, `invalid_scores`, `latency`, `degraded`, `distribution` or `rank_correlation`. `limit`: the most
    by which the version may be worse: a share, for `latency` a factor, for `distribution` a distance; for
    `rank_correlation` the least correlation with the control. `consecutive`: so many failures in a row fail at once, 0
    for never. `dry_run`: it is judged and reported, but has no effect.
    """

    metric: str
    limit: float
    consecutive: int = 0
    dry_run: bool = False


class RolloutDefinition(msgspec.Struct, frozen=True):
    """How a version takes traffic. `policy`: `blue_green`, `canary`, `ab_test` or `shadow`.

    `shadow_previous`: after the switch the old version is a shadow. `shares`: the steps of a canary, the last of them
    1; or the one share of an A/B test. `step_s`, `min_decisions`: the least event time and the least number of
    decisions of the new version in a step. `shadow_first_s`: event time of paired scoring before the first share.
    `alpha`: the error rate, per rollout, of rolling back a version that does no harm. `margin`: the difference in the
    bounded score up to which a version counts as not worse; None for .01, or a tenth of what the champion gains over a
    constant, whichever is less. `ranking_limit`: the part of the control's AUC (or concordance) less .5
    from whose loss on the ranking test rejects.
    `season_s`: the cycle after which traffic repeats itself, None for none: then a block is a cycle. `min_cycles`: whole
    cycles before the level test decides. `block_s`: the width of a block of requests. `label_delay_s`: how long after a
    block's end its labels are waited for, None for the label's horizon. `missing`: how labels count that never come,
    `worst` or `at_random`. `without_labels`: what lets a canary finish that no label can judge, `approval` or
    `promote`. `duration_s`: how long an A/B test or a shadow runs. `winner`: who decides an A/B test, `rule` or `hand`.
    `silence_s`: the wall time without a verdict after which the rollout is paused; after twice as long it is aborted.
    `give_up_s`: the event time after which a rollout ends that nothing has decided. `rollback_window_s`: the event time
    after a promotion in which the old version stays loaded and the new one is still judged. `approval`: a named person
    must approve the version first; `approval_by_another`: one who neither registered it nor asked for its training.
    """

    policy: str
    shadow_previous: bool = True
    shares: tuple[float, ...] = ()
    step_s: float = 21_600.0
    min_decisions: int = 20
    shadow_first_s: float = 0.0
    alpha: float = 0.05
    margin: float | None = None
    ranking_limit: float = 0.4
    season_s: float | None = 86_400.0
    min_cycles: int = 14
    block_s: float = 3600.0
    label_delay_s: float | None = None
    missing: str = "worst"
    without_labels: str = "approval"
    duration_s: float = 1_814_400.0
    winner: str = "hand"
    silence_s: float = 300.0
    give_up_s: float = 5_184_000.0
    rollback_window_s: float = 604_800.0
    approval: bool = False
    approval_by_another: bool = False
    guardrails: tuple[GuardrailDefinition, ...] = ()

    @property
    def cycle_s(self) -> float:
        """The width of a cycle: the season, or a block where there is none."""
        return self.block_s if self.season_s is None else self.season_s

    def delay_s(self, label: LabelDefinition | None) -> float:
        """How long after a block's end its labels are waited for; 0 without a label."""
        horizon_s = 0.0 if label is None else label.horizon_s
        return horizon_s if self.label_delay_s is None else min(self.label_delay_s, horizon_s)


class BreakerDefinition(msgspec.Struct, frozen=True):
    """When a version is no longer called: limits on shares of the calls in the last `window_s`.

    At least `min_calls` and at most `window_calls` calls are counted. An open breaker waits `open_s`; then `probes`
    calls decide whether it closes.
    """

    failure_share: float = 0.5
    slow_share: float = 0.8
    slow_s: float = 1.0
    window_s: float = 30.0
    window_calls: int = 100
    min_calls: int = 3
    open_s: float = 10.0
    probes: int = 3


class DeploymentDefinition(msgspec.Struct, frozen=True):
    """What answers requests.

    `time_limit_s`: the limit of one model call. `degrade_when`: the share of view features that may be missing or stale
    before a request is answered by a step that needs none; None for any share. `step_down_after`: a version that does
    worse than the prior in so many windows in a row is passed over; None for never. `efficacy_s`: for how long after a
    switch the new version is compared with the one before it; None for never. `metrics`: further ones of closed
    windows: names of `headrace.stats.metric_names`, or `module:function` of the user's code. `slices`: columns by whose
    values they are computed too. `charts`: None for no charts. `audit_share`: of the units that are the A/A arm, 0 for none.
    """

    name: str
    model: str
    unit: str
    inputs: tuple[InputDefinition, ...]
    features: tuple[BindingDefinition, ...]
    feature_delay_s: float
    label: LabelDefinition | None
    fallback: tuple[FallbackStepDefinition, ...]
    training: TrainingDefinition | None
    gates: tuple[GateDefinition, ...]
    monitoring: tuple[DriftDefinition, ...]
    retraining: RetrainingDefinition | None
    rollout: RolloutDefinition
    evaluation_window_s: float
    coverage: float
    answer: str
    digest: str
    derived: tuple[DerivedDefinition, ...] = ()
    breaker: BreakerDefinition = BreakerDefinition()
    time_limit_s: float = 5.0
    degrade_when: float | None = None
    owner: str = ""
    intended_use: str = ""
    step_down_after: int | None = 3
    efficacy_s: float | None = 1_209_600.0
    metrics: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    charts: ChartsDefinition | None = None
    audit_share: float = 0.0


class ReferenceDefinition(msgspec.Struct, frozen=True):
    """A compacted topic `reference.<name>.v1` in which pipelines look things up."""

    name: str
    partitions: int


class PipelineDefinition(msgspec.Struct, frozen=True):
    """A user's transform: `function` (`module:function`) turns a raw stream into sources and outcomes of deployments.

    `enrich`: the references in which it looks things up. `remembers_s`: how far back its memory reaches, in append
    time. `limit_s`: a message is parked when the function makes no step for so long.
    """

    name: str
    function: str
    raw: str
    sources: tuple[str, ...]
    outcomes: tuple[str, ...]
    enrich: tuple[str, ...] = ()
    remembers_s: float = 0.0
    limit_s: float = 30.0


class ProjectDefinition(msgspec.Struct, frozen=True):
    """A whole project, as `headrace apply` publishes it."""

    name: str
    raw: tuple[RawStreamDefinition, ...]
    sources: tuple[SourceDefinition, ...]
    views: tuple[ViewDefinition, ...]
    pipelines: tuple[PipelineDefinition, ...]
    deployments: tuple[DeploymentDefinition, ...]
    references: tuple[ReferenceDefinition, ...] = ()

    def source(self, name: str) -> SourceDefinition:
        """The source of that name; KeyError when the project has none."""
        return {source.name: source for source in self.sources}[name]

    def view(self, name: str) -> ViewDefinition:
        """The view of that name; KeyError when the project has none."""
        return {view.name: view for view in self.views}[name]

    def deployment(self, name: str) -> DeploymentDefinition:
        """The deployment of that name; KeyError when the project has none."""
        return {deployment.name: deployment for deployment in self.deployments}[name]


def digest_of(*values: object) -> str:
    """A short digest of plain values and Structs, the same in every process: a hash of their sorted MessagePack.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    encoded = msgspec.msgpack.Encoder(order="sorted").encode(values)
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
