"""What the page shows: one Struct per document, the contract between the service and the page.

A document has a key, and the page subscribes to keys. After its first snapshot only what changed is sent, as a merge
patch (RFC 7386); so whatever changes alone is a map by id, never a list. The TypeScript types of the page are generated
from this module (`make schemas`).

key                      | document
-------------------------|------------------------------------------------------------------
`now`                    | `Now`: is all well, what needs a person, the table of deployments
`deployment/NAME`        | `Deployment`
`series/NAME`            | `Series`: the charts of a deployment
`timeline/NAME`          | `Timeline`
`version/NAME/NUMBER`    | `Version`
`finding/NAME/ID`        | `Finding`
`alerts`                 | `Alerts`
`dead-letters`           | `DeadLetters`
`features`               | `Features`
`services`               | `Services`

Conventions. `*_at_s`, `*_s` of instants: seconds since the epoch; `clock` says which time, `event` or `wall`. Shares lie in
0..1. None means that a value is not known, and a `why` beside it says why. A `place` is `topic/partition/offset` with the
topic's base name (`registry.facts/0/17`). A `link` is a path of the page (`/deployments/flights/findings/ab12`).
"""

from typing import Any, Literal

import msgspec

Mark = Literal["ok", "attention", "page", "unknown"]
Clock = Literal["event", "wall"]
Role = Literal["viewer", "operator", "approver"]
ActName = Literal[
    "pause", "resume", "abort", "promote", "retry", "roll_back", "approve", "silence", "unsilence"
]  # fmt: skip


class Offer(msgspec.Struct, frozen=True):
    """Something that a person may do now. The page shows it as a button to those who have the role.

    `sentence`: what will happen, with names and numbers. `deployment`, `version`, `target`: sent back with the act;
    `target` is the alert's fingerprint, or the silence. `needs_another`: the approver must not be this person.
    """

    act: ActName
    label: str
    sentence: str
    needs: Role
    deployment: str = ""
    version: int | None = None
    target: str = ""
    needs_another: str = ""


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends to `POST /api/v1/acts`. `for_s`: of a silence."""

    act: ActName
    reason: str
    deployment: str = ""
    version: int | None = None
    target: str = ""
    for_s: float | None = None


class ActDone(msgspec.Struct, frozen=True):
    """The answer to an act: the record that it made, and what followed from it. `refused`: why not, "" if it was done."""

    place: str
    facts: tuple[str, ...] = ()
    refused: str = ""


class Me(msgspec.Struct, frozen=True):
    """Who looks at the page. `role`: None for a stranger, who sees no button. `can_sign_in`: keys of persons exist."""

    name: str
    role: Role | None
    can_sign_in: bool
    code_version: str = ""


class Need(msgspec.Struct, frozen=True):
    """A line of what needs a person. `order`: the most pressing first. `link`: the page that explains it."""

    order: int
    mark: Mark
    kind: Literal["page", "warning", "approval", "stopped", "finding", "rollout", "service"]
    about: str
    title: str
    detail: str
    since_s: float | None
    clock: Clock
    link: str
    runbook: str = ""
    command: str = ""
    offers: tuple[Offer, ...] = ()


class Quality(msgspec.Struct, frozen=True):
    """The quality of the champion in its newest closed window. `spark`: of the windows before, oldest first.

    `verdict`: of the window, and `why` it is UNMEASURED. `value`: None then.
    """

    metric: str
    value: float | None
    n: int
    limit: float | None
    is_above: bool
    verdict: str
    why: str
    from_s: float
    to_s: float
    spark: tuple[float | None, ...] = ()


class RolloutBrief(msgspec.Struct, frozen=True):
    """A rollout in one line. `state`: the step, `paused`, `unjudged`, `awaits approval` or `queued`."""

    version: int
    policy: str
    state: str
    share: float
    mark: Mark


class DeploymentRow(msgspec.Struct, frozen=True):
    """A row of the table of deployments.

    `answers_per_s`, `p99_ms`, `fallback_share`, `outcomes`: of the last minute with traffic reports, wall clock; None
    without any. `outcomes`: counts by outcome and step (`served`, `fell_back.previous`, `refused`, ...). `spark`: answers
    per second of the last 30 minutes, one value a minute. `event_at_s`: the deployment's clock.
    """

    name: str
    project: str
    mark: Mark
    champion: int | None
    champion_since_s: float | None
    answers_per_s: float | None = None
    p99_ms: float | None = None
    fallback_share: float | None = None
    outcomes: dict[str, int] = {}
    spark: tuple[float | None, ...] = ()
    quality: Quality | None = None
    drift: Mark = "unknown"
    drift_word: str = ""
    drift_link: str = ""
    rollout: RolloutBrief | None = None
    event_at_s: float | None = None


class Now(msgspec.Struct, frozen=True):
    """The first page. `word`: `all is well`, `2 things need a person`, or what is not known.

    `needs`: by key. `deployments`: by name. `empty`: `no project` where nothing is applied, else "".
    """

    mark: Mark
    word: str
    event_at_s: float | None
    needs: dict[str, Need] = {}
    deployments: dict[str, DeploymentRow] = {}
    empty: str = ""


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

    `steps`: shares of the plan in order (a shadow step is 0), `at`: the index of the current one, the length of `steps`
    when it is promoted. `outcome`: `promoted`, `aborted`, `rolled_back`, `completed`, or "" while it runs. `history`: the
    verdicts so far per metric, for the chart: event time, measured value.
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
    """A version in a list. `stage`: of the registry. `gates`: verdicts by gate."""

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
    """A deployment. `no_labels`: True while no outcome has ever come. `reason`: of the route, with its `place`."""

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
    rollout: RolloutView | None = None
    versions: dict[str, VersionRow] = {}
    findings: dict[str, FindingRow] = {}
    degraded: str = ""
    offers: tuple[Offer, ...] = ()


class WindowPoint(msgspec.Struct, frozen=True):
    """An evaluation window, event time. `figures`: per version (digits) the figures by metric; `errors`: standard errors of
    `loss`. `statistic`: of the drift detector.
    """

    from_s: float
    to_s: float
    requests: int
    labelled: int
    verdict: str
    champion: int | None
    figures: dict[str, dict[str, float | None]] = {}
    errors: dict[str, float] = {}
    label_mean: float | None = None
    missing_share: float = 0.0
    statistic: float | None = None


class TrafficPoint(msgspec.Struct, frozen=True):
    """A minute of traffic, wall clock. `outcomes`: counts by outcome and step. `versions`: answers by version (digits)."""

    outcomes: dict[str, int]
    versions: dict[str, int] = {}
    p50_ms: float | None = None
    p99_ms: float | None = None


class SeriesMark(msgspec.Struct, frozen=True):
    """A mark on the charts: a version switched to, a finding, a retrain, a step of a rollout."""

    at_s: float
    clock: Clock
    kind: Literal["version", "finding", "resolved", "retrain", "rollout", "rollback"]
    text: str
    link: str
    wall_s: float | None = None


class Threshold(msgspec.Struct, frozen=True):
    """A limit that is drawn. `metric`: as in `WindowPoint.figures`, or `statistic`, `missing_share`, `p99_ms`."""

    metric: str
    value: float
    text: str


class Series(msgspec.Struct, frozen=True):
    """The charts of a deployment, by instant (digits): windows by their end, traffic by the start of its minute.

    `metrics`: those of the windows, the most telling first. `kept_s`: for how long traffic is kept.
    """

    metrics: tuple[str, ...]
    windows: dict[str, WindowPoint] = {}
    traffic: dict[str, TrafficPoint] = {}
    marks: dict[str, SeriesMark] = {}
    thresholds: tuple[Threshold, ...] = ()
    kept_s: float = 604_800.0


class TimelineStep(msgspec.Struct, frozen=True):
    """A step of an episode. `after_s`: since the step before, wall clock; `event_after_s`: in event time."""

    order: int
    kind: str
    sentence: str
    mark: Mark
    at_s: float
    wall_s: float
    place: str
    after_s: float | None = None
    event_after_s: float | None = None
    by: str = ""
    details: tuple[str, ...] = ()
    link: str = ""


class Episode(msgspec.Struct, frozen=True):
    """A story from its cause to its end. `mttd_s`, `mttr_s`: event time; `why_not`: why one of them is not known."""

    title: str
    state: str
    mark: Mark
    begun_s: float
    begun_wall_s: float
    steps: dict[str, TimelineStep]
    mttd_s: float | None = None
    mttr_s: float | None = None
    mttr_wall_s: float | None = None
    why_not: str = ""


class Timeline(msgspec.Struct, frozen=True):
    """The causes of a deployment's state: episodes by id, the newest has the latest `begun_wall_s`."""

    episodes: dict[str, Episode] = {}
    median_mttd_s: float | None = None
    median_mttr_s: float | None = None
    dropped: int = 0


class GateRow(msgspec.Struct, frozen=True):
    """A gate's result. `waived_by`: who let the version pass although it failed."""

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str
    waived_by: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column of the signature. `values`: the number of known values of a category, None for a number."""

    name: str
    values: int | None


class Version(msgspec.Struct, frozen=True):
    """A version: its card (Markdown without HTML), gates, lineage and slices."""

    row: VersionRow
    deployment: str
    model_digest: str
    artifact_digest: str
    size_bytes: int
    format: str
    card: str
    gates: dict[str, GateRow]
    lineage: dict[str, Any]
    slices: dict[str, dict[str, float]]
    columns: tuple[Column, ...]
    tags: dict[str, str]
    place: str
    owner: str = ""
    offers: tuple[Offer, ...] = ()


class Segment(msgspec.Struct, frozen=True):
    """A segment that explains a finding. `share`: of the excess that it explains."""

    name: str
    share: float
    rows: int


class Finding(msgspec.Struct, frozen=True):
    """A finding: what moved, since when, what was done. `segments`: None where none were recorded."""

    row: FindingRow
    deployment: str
    place: str
    changed_at_s: float | None
    window_from_s: float | None
    window_to_s: float | None
    back_at: float | None
    resolved: str
    segments: tuple[Segment, ...] | None
    metric: str = ""
    values: dict[str, float | None] = {}
    episode: str = ""
    runbook: str = ""


class AlertRow(msgspec.Struct, frozen=True):
    """An alert. Its instants are wall clock. `silenced`: until when, by whom and why, "" if it is not."""

    fingerprint: str
    name: str
    severity: str
    mark: Mark
    status: str
    about: str
    summary: str
    starts_s: float
    ends_s: float | None
    command: str
    runbook: str
    silenced: str
    place: str
    labels: dict[str, str] = {}
    offers: tuple[Offer, ...] = ()


class SilenceRow(msgspec.Struct, frozen=True):
    """A silence that is in force or begins later."""

    id: str
    matchers: dict[str, str]
    starts_s: float
    ends_s: float
    by: str
    reason: str
    place: str
    offers: tuple[Offer, ...] = ()


class Alerts(msgspec.Struct, frozen=True):
    """Alerts by fingerprint: firing ones, and the newest resolved ones; silences by id."""

    alerts: dict[str, AlertRow] = {}
    silences: dict[str, SilenceRow] = {}


class DeadLetterRow(msgspec.Struct, frozen=True):
    """A dead letter. `origin`: the place of the record that could not be read. `at_s`: wall clock."""

    service: str
    at_s: float
    origin: str
    reason: str
    size_bytes: int
    place: str


class Stop(msgspec.Struct, frozen=True):
    """A partition that is stopped, with the commands that end the stop."""

    service: str
    place: str
    reason: str
    since_s: float
    commands: tuple[str, ...]


class DeadLetters(msgspec.Struct, frozen=True):
    """The newest dead letters by place, counts per service since the start of the log, and stopped partitions."""

    letters: dict[str, DeadLetterRow] = {}
    counts: dict[str, int] = {}
    stops: dict[str, Stop] = {}


class SourceRow(msgspec.Struct, frozen=True):
    """A source. `newest_event_s`: event time of its newest event contained in the features. `behind_records`: not folded yet.

    `silent_s`: wall time since the newest event was appended, None where it is not known.
    """

    source: str
    project: str
    mark: Mark
    newest_event_s: float | None
    behind_records: int
    late: int
    repeated: int
    building_share: float | None = None
    silent_s: float | None = None


class ViewRow(msgspec.Struct, frozen=True):
    """A feature view. `missing_share`: of its features in the newest windows of the deployments that use it, by deployment."""

    view: str
    project: str
    source: str
    entity: str
    features: dict[str, str]
    used_by: tuple[str, ...]


class Features(msgspec.Struct, frozen=True):
    """Sources and feature views, by `project/name`. `missing`: share of missing feature values per deployment."""

    sources: dict[str, SourceRow] = {}
    views: dict[str, ViewRow] = {}
    missing: dict[str, float] = {}


class ServiceRow(msgspec.Struct, frozen=True):
    """An instance of a service. `handled_per_s`: of the last ten seconds. `silent_s`: since its last report."""

    service: str
    instance: str
    mark: Mark
    word: str
    handled_per_s: float | None
    behind_records: int
    silent_s: float
    shards: tuple[int, ...]
    versions: tuple[str, ...]
    started_s: float
    code_version: str
    dead_letters: int
    lag: dict[str, int] = {}
    state_bytes: dict[str, tuple[int, int]] = {}


class Edge(msgspec.Struct, frozen=True):
    """An arrow of the topology: who writes a topic, who reads it, and how far behind the reader is."""

    topic: str
    writer: str
    reader: str
    behind_records: int | None = None


class Services(msgspec.Struct, frozen=True):
    """Instances by `service/instance`, and the topology by `writer topic reader`."""

    instances: dict[str, ServiceRow] = {}
    edges: dict[str, Edge] = {}


class Found(msgspec.Struct, frozen=True):
    """A hit of the search (`GET /api/v1/find?q=...`)."""

    kind: Literal["deployment", "version", "finding", "alert", "decision", "unit", "page"]
    text: str
    link: str
    detail: str = ""


class RecordView(msgspec.Struct, frozen=True):
    """A record (`GET /api/v1/records/TOPIC/PARTITION/OFFSET`), decoded with limits. `cause`: the place of its cause."""

    place: str
    type: str
    id: str
    key: str
    at_s: float
    appended_s: float
    value: Any
    headers: dict[str, str]
    cause: str = ""


class DecisionView(msgspec.Struct, frozen=True):
    """A decision explained (`GET /api/v1/decisions/DEPLOYMENT/WANTED`, a request id or unit).

    `answer`, `row`: as `headrace explain --json` prints them. `why`: the chain of causes of the route, newest first.
    """

    deployment: str
    request_id: str
    unit: str
    at_s: float
    answer: dict[str, Any]
    assigned: int | None
    failed: dict[str, str]
    shadows: dict[str, Any]
    row: dict[str, Any]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    entities: dict[str, str]
    source_offsets: dict[str, int]
    outcome: Any
    recovered: bool
    place: str
    request_place: str
    code_version: str
    why: tuple[TimelineStep, ...] = ()


Document = (
    Now | Deployment | Series | Timeline | Version | Finding | Alerts | DeadLetters | Features | Services
)  # fmt: skip
ALL: tuple[type[msgspec.Struct], ...] = (
    Now, Deployment, Series, Timeline, Version, Finding, Alerts, DeadLetters, Features, Services,
    Found, RecordView, DecisionView, Act, ActDone, Me,
)  # fmt: skip
