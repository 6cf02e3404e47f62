"""The compiled project: plain values that every service reads from `project.definitions`, with digests.

Only pipeline and trainer import the user's code; all other services see nothing but these.
"""

import hashlib
from typing import Any

import msgspec


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
    """A topic `events.<name>.v1` held to a contract.

    `event_time`: the field that says when it happened. `key`: the field that keys the record. An event may be used from
    the instant in field `available_at`, else from `event_time` plus `available_after_s`. `dedupe`: the field whose value
    an event shares with its repeats, which come at most `dedupe_within_s` apart.
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
    """One windowed aggregation. `aggregation`: count, sum, mean, share, min, max, std or last; `column`: None for count.

    `default`: what a row holds where there is no value, None for NaN. `stale_after_s`: how old the newest event of the
    source may be before the feature counts as stale, None for any age.
    """

    name: str
    aggregation: str
    column: str | None
    window_s: int
    default: float | None = None
    stale_after_s: float | None = None


class ViewDefinition(msgspec.Struct, frozen=True):
    """Aggregations of one source per entity. `entity`: the fields that name it, joined by `|`; empty for one entity over all."""

    name: str
    source: str
    entity: tuple[str, ...]
    features: tuple[FeatureDefinition, ...]
    digest: str

    @property
    def key(self) -> str:
        """The name under which its tiles are kept: a changed view is another one, and is built beside the running one."""
        return f"{self.name}@{self.digest[:8]}"


class InputDefinition(msgspec.Struct, frozen=True):
    """One named value of a request. `kind`: `number`, `category`, or `key` (binds views, never a model column).

    `low`, `high`: inclusive limits of a number, None for none. `nullable`: may be missing or null (NaN in the row).
    """

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False


class BindingDefinition(msgspec.Struct, frozen=True):
    """A view looked up by a request's fields, in the order of the view's entity. `key`: the view's key; `kinds`: of the
    source's fields that name the entity, so that a request's 7.0 finds an integer field's 7.
    """

    view: str
    fields: tuple[str, ...]
    key: str = ""
    kinds: tuple[str, ...] = ()


class DerivedDefinition(msgspec.Struct, frozen=True):
    """A column computed at request time. `expression`: see `headrace.project.derived`."""

    name: str
    expression: Any


class LabelDefinition(msgspec.Struct, frozen=True):
    """What is predicted. `kind`: `binary`, `number` or `classes`; `horizon_s`: how late a label may come; `absent`: `unknown` or
    `negative`. `classes`: their names in the order of their indices, of two the negative one first, () where they have none.
    `low`, `high`: the range of a number, inclusive.
    """

    name: str
    kind: str
    horizon_s: float
    absent: str = "unknown"
    classes: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


class FallbackStepDefinition(msgspec.Struct, frozen=True):
    """A step of the fallback chain below the champion: `previous`, `baseline`, or `prior` with its `value`, or for several classes
    its `probabilities`, in the order of the label's classes.
    """

    kind: str
    value: float | None = None
    probabilities: tuple[float, ...] = ()


class GateDefinition(msgspec.Struct, frozen=True):
    """A test before traffic. `kind`: `beats_prior`, `not_worse_than_champion`; `margin` in the label's loss."""

    kind: str
    margin: float = 0.0
    unmeasured: str = "blocks"


class TrainingDefinition(msgspec.Struct, frozen=True):
    """How versions are trained. `build`: `module:function` of the user's code. `holdout_s`: the newest rows, kept to gate
    on; `embargo_s`: left out before them. `first_after_s`: closed evaluation windows before the first version is asked for, or
    `first_after_rows` labelled rows, None for never by rows. `min_rows_after_change`: what a retrain that follows a change waits for; None
    for 1,000 or a tenth of the history's rows, whichever is less.
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


class DriftDefinition(msgspec.Struct, frozen=True):
    """A detector on a figure of closed evaluation windows. `detector`: `page_hinkley` or `loss_change`; `figure`: `log_loss`; `evaluation_window_s`: its width.

    Of `loss_change`, `delta` is the least rise as a share of the loss, and `min_windows` how many come before the first comparison.
    """

    detector: str
    figure: str
    evaluation_window_s: float
    delta: float
    threshold: float
    min_windows: int


class RetrainingDefinition(msgspec.Struct, frozen=True):
    """When to retrain. `on`: kinds of findings; `cooldown_s`: event time between a run of which a version came and the next one;
    `unhelpful`: after so many that did not bring the figure back a finding asks no more."""

    on: tuple[str, ...]
    cooldown_s: float
    unhelpful: int = 3


class GuardrailDefinition(msgspec.Struct, frozen=True):
    """A label-free limit on a version under rollout, against the control in the same blocks.

    `metric`: `errors`, `invalid_scores`, `latency`, `degraded` or `distribution`. `limit`: the most by which the version may be worse
    (a share; for `latency` a factor, for `distribution` a distance). `consecutive`: so many failures in a row fail at
    once, 0 for never. `dry_run`: judged and told, but without effect.
    """

    metric: str
    limit: float
    consecutive: int = 0
    dry_run: bool = False


class RolloutDefinition(msgspec.Struct, frozen=True):
    """How a version takes traffic. `policy`: `blue_green`, `canary`, `ab_test` or `shadow`.

    `shadow_previous`: after the switch the old version scores along. `shares`: the steps of a canary, the last of them 1;
    the one share of an A/B test. `step_s`, `min_decisions`: event time and decisions of the new version that a step takes
    at the least. `shadow_first_s`: event time of paired scoring before the first share. `alpha`: error rate of rolling back a
    version that does no harm, per rollout. `margin`: the Brier difference up to which a version counts as not worse.
    `block_s`: width of the blocks of label evidence; `label_delay_s`: how long after its end one waits for its labels, None for the label's
    horizon; a label that is not there by then counts as the worst. `duration_s`: how long a test or a shadow runs. `winner`: of an A/B test, `rule` or
    `hand`. `silence_s`: wall time without a verdict after which it is paused, after twice as long aborted.
    `rollback_window_s`: event time for which the old version stays warm and the new one is judged still. `approval`: a named person
    must approve the version first.
    """

    policy: str
    shadow_previous: bool = True
    shares: tuple[float, ...] = ()
    step_s: float = 21_600.0
    min_decisions: int = 20
    shadow_first_s: float = 0.0
    alpha: float = 0.05
    margin: float = 0.01
    block_s: float = 3600.0
    label_delay_s: float | None = None
    duration_s: float = 604_800.0
    winner: str = "hand"
    silence_s: float = 300.0
    rollback_window_s: float = 604_800.0
    approval: bool = False
    guardrails: tuple[GuardrailDefinition, ...] = ()


class BreakerDefinition(msgspec.Struct, frozen=True):
    """When a version is not asked any more: shares over the calls of the last `window_s` (at most `window_calls`, at least `min_calls`).

    It rests `open_s`, then `probes` calls decide whether it is back.
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
    """What answers requests. `time_limit_s`: of one model call. `degrade_when`: the share of view features that may be missing
    or stale before a request goes down to a step that needs none; None for any share. `step_down_after`: windows in a row in which a version
    does worse than the prior before it is passed over; None for never.
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


class ReferenceDefinition(msgspec.Struct, frozen=True):
    """A compacted topic `reference.<name>.v1` that pipelines look things up in."""

    name: str
    partitions: int


class PipelineDefinition(msgspec.Struct, frozen=True):
    """A user's transform: `function` (`module:function`) reads raw streams and writes sources and outcomes of deployments.

    `enrich`: references that it looks things up in. `remembers_s`: how far back its memory reaches, in append time.
    `limit_s`: a message over which it makes no step for so long is parked.
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
    """A short digest of plain values and Structs that is the same in every process: their sorted MessagePack, hashed.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    encoded = msgspec.msgpack.Encoder(order="sorted").encode(values)
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
