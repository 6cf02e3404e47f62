"""Retrain requests, and what the trainer made of them."""

import msgspec

from headrace.events.registry import GateResult, Waiver


class RetrainRequested(msgspec.Struct, frozen=True):
    """Please train a new version. Manual and automatic requests are the same event.

    `cause`: `first` (the deployment has no version), the kind of a finding (`drift`, `skew`, `contract`, `traffic`), `follow_up` (a retrain after a change had few rows, and now there are more),
    `schedule` or `manual`. `finding`: the id of the finding
    behind it. `clock_s`: the deployment's clock when it was asked: the rows that may be used are older. `waivers`: gates that
    a named person lets the version pass although they fail. `changed_at_s`: from which request on the world is another one, as far
    as the finding can tell; None where nothing has changed, or it is not known.
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
    """The trainer takes the request up. `run`: names this training in all later facts. `changed_at_s`: as it was asked."""

    deployment: str
    run: str
    request_id: str
    cause: str
    reason: str
    clock_s: float
    waivers: tuple[Waiver, ...] = ()
    changed_at_s: float | None = None


class RetrainCoalesced(msgspec.Struct, frozen=True):
    """The request joined a run that is under way."""

    deployment: str
    run: str
    request_id: str


class RetrainRefused(msgspec.Struct, frozen=True):
    """Not trained: cool-down, no training in the definition. `again_at_s`: from which instant of the deployment's clock on the same request would be
    taken up; None where no time mends it.
    """

    deployment: str
    request_id: str
    reason: str
    again_at_s: float | None = None


class TrainingProgressed(msgspec.Struct, frozen=True):
    """How far a run is. `stage`: `rows`, `fit`, `gates`, `refit`, `publish`; `share` of the whole run, 0..1."""

    deployment: str
    run: str
    stage: str
    share: float
    detail: str = ""


class GateJudged(msgspec.Struct, frozen=True):
    """A gate has spoken."""

    deployment: str
    run: str
    result: GateResult


class TrainingFinished(msgspec.Struct, frozen=True):
    """A run ended. `outcome`: `registered` (a command was sent), `rejected` by a gate, `waiting` (for `missing_rows` more labelled
    rows: ask again when they are there), or `failed`. `changed_at_s`: where the rows show the change that the run followed, `rows_after_change`: how
    many of its rows lie beyond it, `rows_wanted`: and how many it waits for; None and 0 where it followed none. `is_released`: a rollout was asked for.
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
