"""What the monitor saw: windows, findings, and its own state."""

import msgspec

from headrace.events.registry import RolloutStarted
from headrace.events.verdicts import VerdictGiven


class VersionQuality(msgspec.Struct, frozen=True):
    """How one version did on the labelled rows of a window (`role`: `champion` or `shadow`; version 0 is the prior).

    `log_loss` in nats, `expected_log_loss`: the mean entropy of its own scores; None for numbers. `auc`: None when only one class was
    seen, and where there are not two. `mean_score`: None for several classes, whose `accuracy` is told. Of numbers `rmse`, `mae`, and
    `squared_error`: in squares of a quarter of the label's declared range, None where it declares none. `loss`: by which versions
    are compared and watched, `log_loss` or `squared_error`. `loss_error`,
    `excess_error`: standard errors, by rows, of the loss and of its excess over the expected one; `loss_skew`: skewness of the mean loss. `over_prior`: by how much the loss is
    above that of the fallback chain's prior on the same rows, with `over_prior_error`; None where it has no prior.
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

    @property
    def loss(self) -> float | None:
        """What it costs, None where nothing tells."""
        return self.log_loss if self.log_loss is not None else self.squared_error

    @property
    def loss_name(self) -> str:
        """What `loss` is called."""
        return "log-loss" if self.log_loss is not None else "squared error"


class ColumnProfile(msgspec.Struct, frozen=True):
    """A column of a source's events in a window. `magnitude`: the .9 quantile of its absolute values; None when all are null."""

    null_share: float
    magnitude: float | None = None


class SourceProfile(msgspec.Struct, frozen=True):
    """A source's events that became available in a window, and the numeric columns that views read."""

    source: str
    events: int
    columns: dict[str, ColumnProfile] = {}


class SkewSeen(msgspec.Struct, frozen=True):
    """Where served rows differ most from recomputed ones. `share`: of the rows compared; `cause`: as far as it can be told."""

    feature: str
    share: float
    cause: str


class WindowClosed(msgspec.Struct, frozen=True):
    """One evaluation window of requests (by their instant) has closed: coverage was reached or the label horizon has passed.

    `parity_tiles`: share of logged rows equal to the fold up to the offsets that they name; `parity_as_of`: equal to the
    fold of all that was available at their instant; None when no row had features. `parity_rows`: how many rows were compared, at most
    5,000 of a window (those of the lowest hash of where they lie). `late_requests`, `late_outcomes`: what came, since the window before
    was told, after the window that it belonged to had closed; it counts nowhere else. `outcomes_beyond`: outcomes known by the closing
    that came after the label horizon of a request of the window and belong to no other one: not used (is the horizon long enough?).
    `class_shares`, `mean_label`: of labels of several classes by name, and of numbers, as `positive_share` is of two.
    `unmeasured`: why nothing is said of versions, "" when something is.
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
    outcomes_beyond: int = 0
    class_shares: dict[str, float] | None = None
    mean_label: float | None = None
    unmeasured: str = ""


class FindingOpened(msgspec.Struct, frozen=True):
    """Something is not as it should be. `kind`: `drift`, `contract`, `skew`, `quality`, `traffic`, `labels`, `worse_than_prior`; `at_s`: event time.

    `about`: the source, column, feature or version that it is about, when it is not about the deployment as a whole. `changed_at_s`: from which request on it
    is so, as far as windows tell. `back_at`: the figure at which it is over.
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


class FindingResolved(msgspec.Struct, frozen=True):
    """It is over, and why: the figure is back."""

    finding: str
    deployment: str
    kind: str
    reason: str
    at_s: float
    about: str = ""
    version: int | None = None


class RetrainAsk(msgspec.Struct, frozen=True):
    """What is being asked of the trainer for one reason, and how it went so far. `key`: of the finding, `first` or `follow_up`.

    `asked`: so many times. `request_id`: of the request that has no end yet, None when there is none; `run`: that took it up. `not_before_s`, `needs_labelled`: the
    instant of the deployment's clock, and the number of labelled rows, before which it does not ask again. `champion`: when it was last asked;
    `tried`: a version came of the last run; `windows`: that have closed since then. `unhelpful`: runs in a row that did not bring the figure back. `rows`: labelled rows beyond the change that the last run had, and `rows_at`: how many
    labelled rows there were in all by then; `wanted`: how many a run waits for. `asked_at`: how many labelled rows there were when it last asked, which are those that
    the run can have.
    """

    key: str
    finding: str | None = None
    changed_at_s: float | None = None
    asked: int = 0
    request_id: str | None = None
    run: str | None = None
    not_before_s: float = -1e18
    needs_labelled: int = 0
    champion: int | None = None
    tried: bool = False
    windows: int = 0
    unhelpful: int = 0
    rows: int = 0
    rows_at: int = 0
    wanted: int = 0
    asked_at: int = 0


class MonitorState(msgspec.Struct, frozen=True):
    """The monitor's own state of one deployment, enough to go on after a restart from `replay_from`.

    `replay_from`: per `topic/partition` the offset from which the open evaluation windows can be rebuilt. `closed_to_s`: evaluation windows
    before it are closed and said. `profiles`: of the newest windows in which a source was as usual. `detector`: plain numbers of the drift detector, of `champion`.
    `asks`: what is being asked of the trainer. `worse`: per version (its digits) the windows in a row in which it did worse than the prior.
    `unlabelled`: the windows in a row that too few labels came for.
    `late_requests`, `late_outcomes`: what came after its window had closed, since the beginning. `needed_from_s`: events that may be used
    from this instant on lie at `replay_from` or behind it; None for all of them.
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


class RolloutJudged(msgspec.Struct, frozen=True):
    """The monitor's memory of one rollout, enough to go on with its analysis after a restart. The newest one of a deployment counts.

    `routes`: the version's share per record of `registry.routes`. `share`, `number`, `step_clock_s`: the present step and when
    it began. `until_s`: by the deployment's clock the end of the analysis after a promotion; None while it runs. `ended`:
    the analysis is over. `folded`: per `topic/partition` the next decision that the guardrails have not seen; `open_from_s`: start of the
    oldest open block, None before the first; `replay_from`: from where open blocks can be read again. `tests`: plain
    numbers per guardrail, and per test on labels. `totals`: over the closed blocks. `said`: the newest verdict; `sequence`: how many.
    `step_seen`: decisions of the deployment in this step. `step_unasked`: of this step's decisions for the version's units, those
    that it was not asked by no fault of its own, and all; then the same of the control's.
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
    said: VerdictGiven | None = None
    sequence: int = 0
    step_seen: int = 0
    step_unasked: tuple[int, int, int, int] = (0, 0, 0, 0)
