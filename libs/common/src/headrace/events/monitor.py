"""Evaluation windows, findings, and the monitor's own state."""

import msgspec

from headrace.events.audit import AuditKept
from headrace.events.charts import ChartPoint, ChartsMemory, ColumnSeen, Estimated
from headrace.events.efficacy import EfficacyKept, Paired
from headrace.events.estimation import EstimationState
from headrace.events.registry import RolloutStarted
from headrace.events.training import RetrainAsk
from headrace.events.verdicts import VerdictGiven


class VersionQuality(msgspec.Struct, frozen=True):
    """How one version did on the labelled rows of a window. `role`: `champion` or `shadow`; version 0 is the prior.

    `log_loss`: in nats. `expected_log_loss`: the mean entropy of its own scores. Both are None for numbers. `auc`: None
    when only one class was seen, or when there are not two. `mean_score`: None for several classes, which have
    `accuracy` instead. Numbers have `rmse`, `mae` and `squared_error`, which is in squares of a quarter of the label's
    declared range (None where no range is declared). `loss`: the figure by which versions are compared and watched,
    `log_loss` or `squared_error`. `loss_error`, `excess_error`: standard errors, by rows, of the loss and of its excess
    over the expected loss. `loss_skew`: skewness of the mean loss. `over_prior`: the loss minus that of the fallback
    chain's prior on the same rows, with `over_prior_error`; None where the chain has no prior. `score`: the mean bounded
    score by which rollouts are judged (Brier; for numbers the absolute error as a share of the declared range, None
    without one). `metrics`: further metrics by name; those of a slice as `name@column=value`.
    """

    version: int
    role: str
    rows: int
    log_loss: float | None
    expected_log_loss: float | None
    auc: float | None
    mean_score: float | None
    accuracy: float | None = None
    rmse: float | None = None
    mae: float | None = None
    squared_error: float | None = None
    loss_error: float = 0.0
    excess_error: float = 0.0
    loss_skew: float = 0.0
    over_prior: float | None = None
    over_prior_error: float = 0.0
    score: float | None = None
    metrics: dict[str, float] = {}

    @property
    def loss(self) -> float | None:
        """The figure by which versions are compared; None where there is none."""
        return self.log_loss if self.log_loss is not None else self.squared_error

    @property
    def loss_name(self) -> str:
        """The name of the figure in `loss`."""
        return "log-loss" if self.log_loss is not None else "squared error"


class ColumnProfile(msgspec.Struct, frozen=True):
    """A column of a source's events in a window. `magnitude`: the .9 quantile of its absolute values, None when all are
    null.
    """

    null_share: float
    magnitude: float | None = None


class SourceProfile(msgspec.Struct, frozen=True):
    """A source's events that became available in a window, and the numeric columns that views read."""

    source: str
    events: int
    columns: dict[str, ColumnProfile] = {}


class SkewSeen(msgspec.Struct, frozen=True):
    """The feature whose served values differ most from recomputed ones. `share`: of the compared rows; `cause`: where
    known.
    """

    feature: str
    share: float
    cause: str


class WindowClosed(msgspec.Struct, frozen=True):
    """An evaluation window of requests (by their instant) has closed: its coverage was reached or the label horizon has
    passed.

    `parity_tiles`: the share of logged rows equal to the fold up to the offsets that they name. `parity_as_of`: the
    share equal to the fold of all that was available at their instant. Both are None when no row had features.
    `parity_rows`: how many rows were compared, at most 5,000 of a window (those with the lowest hash of their offset).
    `late_requests`, `late_outcomes`: records, since the previous window was published, that came after their window had
    closed; they count nowhere else. `late_corrections`: corrections of labels, since then, that were not known yet when
    the window of their request closed (or that correct what nobody knows); its report does not change.
    `outcomes_beyond`: outcomes known by the closing that came after the label horizon of a request of this window and
    belong to no other request; they are not used (is the horizon long enough?).
    `class_shares`, `mean_label`: the labels of several classes by name, and of numbers, as `positive_share` is for two
    classes. `unmeasured`: why versions were not measured, "" when they were. `label_delay_s`: the median time from a
    request to its first label, of the requests that have one; None where none has.
    """

    deployment: str
    from_s: float
    to_s: float
    requests: int
    labelled: int
    positive_share: float | None
    verdict: str
    qualities: tuple[VersionQuality, ...] = ()
    answers: dict[str, int] = {}
    parity_rows: int = 0
    parity_tiles: float | None = None
    parity_as_of: float | None = None
    missing_share: float = 0.0
    max_feature_lag_s: float = 0.0
    drift_statistic: float | None = None
    skew: SkewSeen | None = None
    sources: tuple[SourceProfile, ...] = ()
    late_requests: int = 0
    late_outcomes: int = 0
    late_corrections: int = 0
    outcomes_beyond: int = 0
    class_shares: dict[str, float] | None = None
    mean_label: float | None = None
    unmeasured: str = ""
    label_delay_s: float | None = None
    charts: tuple[ChartPoint, ...] = ()
    columns: tuple[ColumnSeen, ...] = ()
    estimates: tuple[Estimated, ...] = ()
    pairs: tuple[Paired, ...] = ()


class WindowEstimated(msgspec.Struct, frozen=True):
    """The requests of an evaluation window are all there, and its labels are not: what its metrics are estimated to be.

    `requests`: how many; `labelled`: how many of them have a label by now, which is no fair sample. `unestimated`: why
    versions that answer have no estimate, "" when all have one. An estimate is never a verdict.
    """

    deployment: str
    from_s: float
    to_s: float
    requests: int
    labelled: int
    estimates: tuple[Estimated, ...]
    unestimated: str = ""


class BudgetReported(msgspec.Struct, frozen=True):
    """The ledger of a deployment's pages. `stated`: false pages that the project allows per `period_s` of event time.

    `charts`: between how many the budget is divided. `patience_s`: the mean time to a false page that all charts keep
    together, by the theorem of e-detectors. `measured`: false pages per period that are expected by a block bootstrap of the
    reference windows, and `measured_high`: what 95 % of stretches of twelve periods have at most; None while there are too few. `spent`: pages in the
    newest period; `left`: what is left of it, never below 0; `total`: pages since `since_s`. `pages`: the findings of
    the newest period.
    """

    deployment: str
    stated: float
    period_s: float
    at_s: float
    charts: int
    patience_s: float
    spent: int
    left: float
    total: int
    since_s: float
    measured: float | None = None
    measured_high: float | None = None
    pages: tuple[str, ...] = ()


class Segment(msgspec.Struct, frozen=True):
    """The part of the requests that explains a finding most. `column`, `value`: `value` is a category, or a range in words.

    `measured`, `rest`: the figure (the loss, or the share that is broken) within it and among all others; `share`: its
    share of the requests; `explains`: the share of the change that it accounts for.
    """

    column: str
    value: str
    rows: int
    share: float
    measured: float
    rest: float
    explains: float


class Moved(msgspec.Struct, frozen=True):
    """A column that moved together with a finding. `statistic`: `psi`, `null_share` or `unknown_share`; `before`: usually."""

    column: str
    statistic: str
    measured: float
    before: float | None = None


class FindingEvidence(msgspec.Struct, frozen=True):
    """What a finding rests on. `first_place`: `topic/partition/offset` of the first record that shows it, and its instant.

    `requests`: ids of at most ten requests that show it. `segment`: the part of the requests that explains it most, None
    where no part stands out. `moved`: columns that moved with it. `producers`: who wrote differently since, as
    `what: before -> after` (the version of the code, of the model, of the definition). `charts`: other charts that
    crossed in the same episode.
    """

    first_place: str = ""
    first_at_s: float | None = None
    requests: tuple[str, ...] = ()
    segment: Segment | None = None
    moved: tuple[Moved, ...] = ()
    producers: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()


class FindingOpened(msgspec.Struct, frozen=True):
    """Something is wrong.

    `kind`: `drift`, `inputs`, `contract`, `skew`, `quality`, `traffic`, `labels` or `worse_than_prior`. `at_s`: event
    time. `about`: the chart, source, column, feature or version concerned, "" for the deployment as a whole.
    `changed_at_s`: the request since which it is so, as far as windows show. `back_at`: the figure at which the finding
    is resolved. `severity`: `page` (somebody is called), `warning` or `info`. `group`: findings of one group are one
    story, and alert once.
    """

    finding: str
    deployment: str
    kind: str
    summary: str
    at_s: float
    version: int | None = None
    detector: str = ""
    measured: float | None = None
    limit: float | None = None
    window_from_s: float | None = None
    window_to_s: float | None = None
    about: str = ""
    changed_at_s: float | None = None
    back_at: float | None = None
    severity: str = "warning"
    group: str = ""
    evidence: FindingEvidence | None = None


class FindingResolved(msgspec.Struct, frozen=True):
    """The finding is over. `reason`: why, for instance that the figure is back."""

    finding: str
    deployment: str
    kind: str
    reason: str
    at_s: float
    about: str = ""
    version: int | None = None


class PartsSeen(msgspec.Struct, frozen=True):
    """What the loss of a version usually is in the parts of the requests that one column makes.

    `edges`: between the parts of a number; `values`: the parts of a category, None for a number. Behind these one more
    part holds the requests without a value. `rows`, `sums`: per part the labelled requests and the sum of their losses, faded.
    """

    column: str
    rows: tuple[float, ...]
    sums: tuple[float, ...]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] | None = None


class WindowBegin(msgspec.Struct, frozen=True):
    """Where a closed window began: the instant of its first decision and its place, `topic/partition/offset`."""

    from_s: float
    at_s: float
    place: str


class ProducerChanged(msgspec.Struct, frozen=True):
    """Something else writes decisions since `at_s`. `what`: `code`, `version` or `definition`."""

    at_s: float
    what: str
    before: str
    after: str


class Usual(msgspec.Struct, frozen=True):
    """What the newest windows of a deployment were like, by which a finding is explained.

    `parts`: by column, of `version` only. `begins`: of the newest windows. `producers`: per kind of `ProducerChanged`
    who wrote in the newest window. `changed`: the newest changes.
    """

    version: int | None = None
    parts: tuple[PartsSeen, ...] = ()
    begins: tuple[WindowBegin, ...] = ()
    producers: dict[str, tuple[str, ...]] = {}
    changed: tuple[ProducerChanged, ...] = ()


class MonitorState(msgspec.Struct, frozen=True):
    """The monitor's own state of one deployment, enough to continue after a restart from `replay_from`.

    `replay_from`: per `topic/partition` the offset from which the open evaluation windows can be rebuilt.
    `closed_to_s`: windows before it are closed and published. `profiles`: those of the newest windows in which a source
    was as usual. `detector`: plain numbers of the drift detector of `champion`. `asks`: pending demands for a retrain.
    `worse`: per version (its digits) the windows in a row in which it did worse than the prior. `unlabelled`: the
    windows in a row with too few labels. `late_requests`, `late_outcomes`, `late_corrections`: the number of
    records, since the beginning, that came after their window had closed. `closed_at_s`: event time at which the newest
    window closed. `needed_from_s`: events that become available from this instant on lie at
    `replay_from` or later; None for all. `record`: of the champion's windows, faded: labelled rows, the sum of their
    scores, and labels per class. `usual`: what explains findings. `estimation`: what estimates are made from. `charts`:
    what the charts have seen. `inputs_to_s`: what ended by then was judged for its inputs, None before the first.
    `efficacy`: of the newest switch. `audit`: of the A/A arm.
    """

    deployment: str
    replay_from: dict[str, int]
    closed_to_s: float
    champion: int | None
    detector: dict[str, float]
    open_findings: tuple[FindingOpened, ...] = ()
    closed_windows: int = 0
    labelled_total: int = 0
    profiles: tuple[SourceProfile, ...] = ()
    late_requests: int = 0
    late_outcomes: int = 0
    asks: tuple[RetrainAsk, ...] = ()
    worse: dict[str, int] = {}
    needed_from_s: float | None = None
    unlabelled: int = 0
    record: tuple[float, ...] = ()
    usual: Usual | None = None
    estimation: EstimationState | None = None
    inputs_to_s: float | None = None
    charts: ChartsMemory | None = None
    efficacy: EfficacyKept | None = None
    audit: AuditKept | None = None
    late_corrections: int = 0
    closed_at_s: float | None = None


class RolloutJudged(msgspec.Struct, frozen=True):
    """The monitor's memory of one rollout, enough to continue its analysis after a restart. The newest of a deployment
    counts.

    `routes`: the version's share per record of `registry.routes`. `share`, `number`, `step_clock_s`: the current step
    and when it began. `until_s`: after a promotion, the end of the analysis by the deployment's clock; None before.
    `ended`: the analysis is over. `folded`: per `topic/partition` the next decision for the guardrails. `open_from_s`:
    the start of the oldest open block, None before the first. `replay_from`: the offsets from which open blocks can be
    read again. `tests`: plain numbers per guardrail and per test on labels. `totals`: sums over the closed blocks.
    `verdict`: the newest published verdict. `sequence`: the number of verdicts. `step_seen`: decisions of the deployment
    in this step. `step_unasked`: of this step's decisions for the version's units, those for which it was not called
    through no fault of its own, and all; then the same two for the control. `usual_gain`: what the champion gained
    over a constant answer before the rollout, per request, None where that was not known.
    """

    deployment: str
    started: RolloutStarted
    routes: dict[int, float] = {}
    share: float = 0.0
    number: int = 0
    step_clock_s: float | None = None
    step_decisions: int = 0
    decisions: int = 0
    step_units: tuple[int, int] = (0, 0)
    until_s: float | None = None
    ended: bool = False
    folded: dict[str, int] = {}
    open_from_s: float | None = None
    replay_from: dict[str, int] = {}
    tests: dict[str, dict[str, list[float]]] = {}
    totals: dict[str, float] = {}
    verdict: VerdictGiven | None = None
    sequence: int = 0
    step_seen: int = 0
    step_unasked: tuple[int, int, int, int] = (0, 0, 0, 0)
    usual_gain: float | None = None
