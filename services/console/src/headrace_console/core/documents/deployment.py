"""A deployment, its versions and its findings."""

import msgspec

from headrace_console.core.documents.acting import Offer
from headrace_console.core.documents.now import DeploymentRow
from headrace_console.core.documents.words import Mark


class RouteShare(msgspec.Struct, frozen=True):
    """A version in the route. `roles`: `champion`, `previous`, `baseline`, `shadow`, `warm`, `under rollout`."""

    version: int
    share: float
    roles: tuple[str, ...]
    state: str = ""


class EvidenceRow(msgspec.Struct, frozen=True):
    """A metric of a rollout's newest verdict, its limit beside its value. `needs`: what is still missing, `14 cycles, 9`."""

    metric: str
    kind: str
    verdict: str
    measured: float | None
    limit: float | None
    needs: str
    rows: int
    blocks: int
    alpha: float | None
    bound: str
    detail: str
    is_dry_run: bool = False


class RolloutView(msgspec.Struct, frozen=True):
    """A rollout, in motion or ended.

    `steps`: shares of the plan in order (a shadow step is 0), `at`: the index of the current one, or of the one in which
    it was aborted; the length of `steps` when it was promoted. `outcome`: `promoted`, `aborted`, `rolled_back` (it did
    harm, before its promotion or after it), `completed`, or "" while it runs. `history`: the verdicts so far per metric,
    for the chart: event time, measured value.
    """

    id: str
    version: int
    control: int | None
    policy: str
    state: str
    steps: tuple[float, ...]
    at: int
    share: float
    since_s: float | None
    clock_s: float | None
    guardrails: str
    labels: str
    step_decisions: int
    label_count: int
    cycles: int
    waits_for: str
    outcome: str
    reason: str
    place: str
    by: str = ""
    evidence: dict[str, EvidenceRow] = {}
    history: dict[str, tuple[tuple[float, float | None], ...]] = {}
    offers: tuple[Offer, ...] = ()


class VersionRow(msgspec.Struct, frozen=True):
    """A version in a list. `stage`: of the registry. `gates`: verdicts by gate. `waived`: gates that need not pass."""

    version: int
    stage: str
    aliases: tuple[str, ...]
    registered_at_s: float
    trained_rows: int
    metrics: dict[str, float]
    gates: dict[str, str]
    reason: str
    by: str
    approved_by: str = ""
    waived: tuple[str, ...] = ()


class FindingRow(msgspec.Struct, frozen=True):
    """A finding in a list. `resolved_at_s`: event time, None while it is open."""

    id: str
    kind: str
    mark: Mark
    summary: str
    about: str
    detector: str
    measured: float | None
    limit: float | None
    at_s: float
    resolved_at_s: float | None
    version: int | None
    link: str


class Deployment(msgspec.Struct, frozen=True):
    """A deployment. `no_labels`: True while no window has an outcome; `label_example`: one that would be
    taken. `reason`: of the route, with its `place`.
    `degraded`: why a fallback answers. `training`: what a run is doing now. Both are "" otherwise.
    """

    row: DeploymentRow
    unit: str
    label: str
    horizon_s: float | None
    policy: str
    route: dict[str, RouteShare]
    fallback: tuple[str, ...]
    reason: str
    place: str
    no_labels: bool
    label_example: float | str | None = None
    rollout: RolloutView | None = None
    versions: dict[str, VersionRow] = {}
    findings: dict[str, FindingRow] = {}
    degraded: str = ""
    training: str = ""
    offers: tuple[Offer, ...] = ()
