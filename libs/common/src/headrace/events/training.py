"""Retrain requests, and what the trainer made of them."""

import msgspec

from headrace.events.registry import GateResult, Waiver


class RetrainRequested(msgspec.Struct, frozen=True):
    """Please train a new version. Manual and automatic requests are the same event.

    `cause`: `first` (the deployment has no version), `drift`, `schedule` or `manual`. `finding`: the id of the finding
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
    """The trainer takes the request up. `run`: names this training in all later facts."""

    deployment: str
    run: str
    request_id: str
    cause: str
    reason: str
    clock_s: float
    waivers: tuple[Waiver, ...] = ()


class RetrainCoalesced(msgspec.Struct, frozen=True):
    """The request joined a run that is under way."""

    deployment: str
    run: str
    request_id: str


class RetrainRefused(msgspec.Struct, frozen=True):
    """Not trained: cool-down, budget, too few rows, no training in the definition."""

    deployment: str
    request_id: str
    reason: str


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
    """A run ended. `outcome`: `registered` (a command was sent), `rejected` by a gate, or `failed`."""

    deployment: str
    run: str
    outcome: str
    reason: str
    model_digest: str = ""
    trained_rows: int = 0
    took_s: float = 0.0
