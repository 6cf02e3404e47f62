"""Retrain requests and their results."""

import msgspec

from headrace.events.registry import GateResult, Waiver

# The trainer answers to so many characters of a request's id.
REQUEST_ID_CHARS = 200


class RetrainRequested(msgspec.Struct, frozen=True):
    """A request to train a new version. Manual and automatic requests are the same event.

    `cause`: `first` (the deployment has no version), the kind of a finding (`drift`, `skew`, `contract`, `traffic`,
    `inputs`), `follow_up` (a retrain after a change had few rows, and now there are more), `schedule`, `new_rows` or
    `manual`. `finding`: the id of the finding. `clock_s`: the deployment's clock at the request, or the instant of its
    schedule; only older rows may be used. `waivers`: gates
    that a named person lets the version pass although they fail. `changed_at_s`: the request since which the data are
    different, as far as the finding shows; None where nothing has changed, or it is not known.
    """

    deployment: str
    cause: str
    reason: str
    by: str
    finding: str | None = None
    clock_s: float | None = None
    waivers: tuple[Waiver, ...] = ()
    changed_at_s: float | None = None


class RetrainAccepted(msgspec.Struct, frozen=True):
    """The trainer accepts a request. `run`: the id of this training in all later facts. `changed_at_s`: as in the
    request. `asked_by`: the person who asked by hand; "" where nobody did.
    """

    deployment: str
    run: str
    request_id: str
    cause: str
    reason: str
    clock_s: float
    waivers: tuple[Waiver, ...] = ()
    changed_at_s: float | None = None
    asked_by: str = ""


class RetrainCoalesced(msgspec.Struct, frozen=True):
    """The request joined a running training."""

    deployment: str
    run: str
    request_id: str


class RetrainRefused(msgspec.Struct, frozen=True):
    """The request is not trained: cool-down, or no training in the definition.

    `again_at_s`: the instant of the deployment's clock from which the same request would be accepted; None where
    waiting does not help.
    """

    deployment: str
    request_id: str
    reason: str
    again_at_s: float | None = None


class TrainingProgressed(msgspec.Struct, frozen=True):
    """The progress of a run. `stage`: `rows`, `fit`, `gates`, `refit` or `publish`; `share`: of the whole run, 0..1."""

    deployment: str
    run: str
    stage: str
    share: float
    detail: str = ""


class GateJudged(msgspec.Struct, frozen=True):
    """The result of one gate in a run."""

    deployment: str
    run: str
    result: GateResult


class TrainingFinished(msgspec.Struct, frozen=True):
    """A run ended.

    `outcome`: `registered` (a command was sent), `rejected` by a gate, `waiting` (for `missing_rows` more labelled
    rows: request it again when they are there), or `failed`. `changed_at_s`: the instant at which the rows show the
    change that the run followed. `rows_after_change`: how many of its rows lie beyond it. `rows_wanted`: how many it
    waits for. They are None and 0 where the run followed no change. `is_released`: a rollout was requested.
    """

    deployment: str
    run: str
    outcome: str
    reason: str
    model_digest: str = ""
    trained_rows: int = 0
    took_s: float = 0.0
    missing_rows: int = 0
    changed_at_s: float | None = None
    rows_after_change: int = 0
    rows_wanted: int = 0
    is_released: bool = True


class RetrainAsk(msgspec.Struct, frozen=True):
    """A pending demand for a retrain, and its history. `key`: of a finding, or `first`, `follow_up`, `schedule`,
    `new_rows` or `run` (a run that nothing declared waits for).

    `asked`: how often it was requested. `request_id`: the request that has no end yet, None for none. `run`: the run
    that accepted it. `not_before_s`, `needs_labelled`: the instant of the deployment's clock and the number of labelled
    rows before which it is not requested again. `champion`: the champion at the last request. `tried`: the last run
    made a version. `windows`: how many have closed since then. `unhelpful`: runs in a row that did not bring the figure
    back. `rows`: labelled rows beyond the change that the last run had. `rows_at`: how many labelled rows there were in
    all by then. `wanted`: how many rows a run waits for. `asked_at`: how many labelled rows there were at the last
    request, which are those a run can use. `asked_s`: the clock of the last request. A schedule counts from `asked_s`,
    new rows count from `rows_at`.
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
    asked_s: float | None = None
