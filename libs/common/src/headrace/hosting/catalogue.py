"""The metric catalogue: every metric that a service exports, in one closed set. Code, the reference page, rules,
dashboards and tests read it.

Names are `headrace_<service>_<thing>_<unit>[_total]`; what several services export has no service in the name, and a
label `service`. Labels have the closed sets of values that `LABELS` describes, never ids.
"""

from dataclasses import dataclass
from typing import Literal

from headrace.hosting.traffic import SCORE_BOUNDS
from headrace.latency import BOUNDS_S

Kind = Literal["gauge", "counter", "histogram"]

LABELS = {
    "service": "the services",
    "topic": "the topics that the service reads, with their namespace",
    "source": "the sources of applied projects",
    "state": "the states that grow, with their shards (docs/architecture.md). Of breakers: `closed`, `open`, `half_open`",
    "deployment": "the applied deployments, at most 256; the rest is counted under `other`, and has no gauges",
    "version": "versions that the route names, at most 32 of a deployment; `other`; `none` where no version answered",
    "outcome": "`served`; `champion`, `previous`, `baseline`, `prior` (the step of the fallback chain); `refused`,"
    " `expired`, `invalid`. Of a training run: `registered`, `rejected`, `waiting`, `failed`",
    "stage": "`queue` (from append until it is handled), `features`, `model` (its calls), `commit` (from the decision on)",
    "figure": "`log_loss`, `auc`, `mean_score`, `accuracy`, `rmse`, `mae`, `squared_error`, `over_prior`, `score`",
    "chart": "`base_rate`, `ranking`, `calibration`, `slope`, `level`, each of all requests",
    "kind": "the kinds of findings (docs/glossary.md)",
    "severity": "`critical` (it pages a person), `warning`",
    "standing": "`running`, `paused`, `unjudged`, `approval`",
    "receiver": "the receivers that are set: `alertmanager`, `alertmanager-2`, ..., `webhook`, `slack`, `watchdog`",
    "status": "classes of HTTP status: `2xx`, `3xx`, `4xx`, `5xx`",
}
SERVICES = ("pipeline", "feature", "inference", "gateway", "registry", "monitor", "trainer", "console", "forwarder")
# Those that commit transactions, those that dead-letter, and those that answer over HTTP.
WITH_SHARDS = ("feature", "inference", "registry", "monitor", "trainer")
READERS = ("pipeline", *WITH_SHARDS)
WITH_HTTP = ("gateway", "console")
RUN_BOUNDS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `services`: who exports it; `labels`: names of `LABELS`; `bounds`: of a histogram, its buckets.

    `help`: one sentence for people. Counters begin at 0 with each start of the instance.
    """

    name: str
    kind: Kind
    help: str
    services: tuple[str, ...] = SERVICES
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _histogram(name: str, text: str, services: tuple[str, ...], *labels: str, bounds: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", text, services, labels, bounds)


def _own(service: str, kind: Kind, name: str, text: str, *labels: str) -> Metric:
    return Metric(f"headrace_{service}_{name}", kind, text, (service,), labels)


READY = Metric("headrace_ready", "gauge", "1 when the instance does its work, 0 when not", labels=("service",))
SHARDS = Metric("headrace_shards_owned", "gauge", "Shards that this instance owns", WITH_SHARDS, ("service",))
HANDLED = Metric(
    "headrace_records_handled_total",
    "counter",
    "Input records handled",
    (*READERS, "console", "forwarder"),
    ("service",),
)
DEAD_LETTERED = Metric(
    "headrace_records_dead_lettered_total", "counter", "Records that could not be read", READERS, ("service",)
)
LAG = Metric("headrace_lag_records", "gauge", "Records behind, per topic", WITH_SHARDS, ("service", "topic"))
COMMIT = _histogram(
    "headrace_commit_seconds", "Duration of the commits of transactions", WITH_SHARDS, "service", bounds=BOUNDS_S
)
STATE = Metric(
    "headrace_state_bytes", "gauge", "What a state that grows holds, by estimate", labels=("service", "state")
)
STATE_LIMIT = Metric("headrace_state_limit_bytes", "gauge", "The bound of that state", labels=("service", "state"))
HTTP_REQUESTS = Metric(
    "headrace_http_requests_total", "counter", "Answered HTTP requests", WITH_HTTP, ("service", "status")
)
HTTP = _histogram(
    "headrace_http_request_seconds",
    "From the headers of an HTTP request to the end of its answer; streams are left out",
    WITH_HTTP,
    "service",
    bounds=BOUNDS_S,
)
UNFORESEEN = Metric(
    "headrace_unforeseen_errors_total",
    "counter",
    "Calls that failed for no known reason (HTTP 500)",
    WITH_HTTP,
    ("service",),
)

NEWEST_EVENT = _own(
    "feature", "gauge", "newest_event_seconds", "Instant of the newest event contained, event time", "source"
)
LATE_EVENTS = _own(
    "feature", "counter", "late_events_total", "Events that came after their panes were dropped", "source"
)
REPEATED_EVENTS = _own("feature", "counter", "repeated_events_total", "Events dropped as repeats (dedupe)", "source")
VIEW_BUILT = _own("feature", "gauge", "view_built_share", "Share read of the history of views being built", "source")

WARMED = Metric(
    "headrace_versions_warmed", "gauge", "Model versions that are loaded and warm", ("inference",), ("service",)
)
REQUESTS = _own("inference", "counter", "requests_total", "Committed decisions", "deployment", "version", "outcome")
LATENCY = _histogram(
    "headrace_inference_latency_seconds",
    "From the append of a request to the commit of its decision",
    ("inference",),
    "deployment",
    bounds=BOUNDS_S,
)
STAGE = _histogram(
    "headrace_inference_stage_seconds", "Time that requests spent in a stage", ("inference",), "stage", bounds=BOUNDS_S
)
SCORES = _histogram(
    "headrace_inference_scores",
    "Scores that answered: the probability of the positive or likeliest class, or where a number lies in its range",
    ("inference",),
    "deployment",
    bounds=SCORE_BOUNDS,
)
MISSING = _own("inference", "counter", "missing_total", "Decisions with a view feature without a value", "deployment")
STALE = _own("inference", "counter", "stale_total", "Decisions with a view feature older than its limit", "deployment")
ROWS = _own("inference", "counter", "rows_total", "Rows given to versions that were to answer", "deployment")
UNKNOWN_ROWS = _own(
    "inference", "counter", "unknown_rows_total", "Those with a category that the version has no code for", "deployment"
)
OVERLOAD = _own(
    "inference",
    "gauge",
    "overload_level",
    "0 none, 1 shadows are dropped, 2 the baseline too, 3 requests are refused; the worst deployment's",
)
HUNG_CALLS = _own(
    "inference",
    "gauge",
    "hung_calls",
    "Calls of models that hang for good; each may use a core until the process is restarted",
)
BREAKERS = _own("inference", "gauge", "breakers", "Loaded versions by the state of their breaker", "state")

ROLLOUTS = _own("registry", "gauge", "rollouts", "Rollouts under way", "standing")
ROLLOUT_SHARE = _own(
    "registry", "gauge", "rollout_share", "Share of traffic of the version that is being rolled out", "deployment"
)

LATE_REQUESTS = _own(
    "monitor", "counter", "late_requests_total", "Requests that came after their evaluation window had closed", "deployment"
)  # fmt: skip
LATE_OUTCOMES = _own(
    "monitor", "counter", "late_outcomes_total", "Outcomes that came after their evaluation window had closed", "deployment"
)  # fmt: skip
LATE_CORRECTIONS = _own(
    "monitor",
    "counter",
    "late_corrections_total",
    "Corrections of labels that came after the evaluation window of their request had closed",
    "deployment",
)
WINDOW_END = _own(
    "monitor", "gauge", "window_end_seconds", "End of the newest closed evaluation window, event time", "deployment"
)
QUALITY = _own(
    "monitor", "gauge", "quality", "Figures of the champion in the newest closed window", "deployment", "figure"
)
DRIFT = _own(
    "monitor", "gauge", "drift_statistic", "The drift detector's figure at the newest closed window", "deployment"
)
CHART = _own(
    "monitor",
    "gauge",
    "chart_share",
    "The e-detector of a chart at the newest closed window, as a share of its limit: it alarms at 1",
    "deployment",
    "chart",
)
PAGES_LEFT = _own(
    "monitor", "gauge", "budget_left_pages", "What is left of the stated budget of pages in its period", "deployment"
)
AUDIT_TRIALS = _own("monitor", "gauge", "audit_trials", "Trials of the A/A arm that are over", "deployment")
AUDIT_RATE = _own(
    "monitor",
    "gauge",
    "audit_share",
    "Trials of the A/A arm that a test failed, by what it would have done: `false_alarm` or `rollback`",
    "deployment",
    "outcome",
)
LABELLED = _own(
    "monitor", "gauge", "labelled_share", "Requests of the newest closed window that have a label", "deployment"
)
LABEL_DELAY = _own(
    "monitor",
    "gauge",
    "label_delay_seconds",
    "Median time from a request to its label in the newest closed window, event time",
    "deployment",
)
MISSING_VALUES = _own(
    "monitor", "gauge", "missing_share", "Feature values without a value in the newest closed window", "deployment"
)
FINDINGS = _own("monitor", "gauge", "findings_open", "Open findings", "kind")
ALERTS = _own("monitor", "gauge", "alerts_firing", "Alerts that are on", "severity")
WATCHDOG = _own(
    "monitor", "gauge", "watchdog_time_seconds", "When the dead-man record was last written, since the epoch"
)
PAGES = _own("monitor", "gauge", "pages_30d", "Alerts that began to page a person within the last 30 days")

RUN = _histogram(
    "headrace_trainer_run_seconds", "Duration of training runs", ("trainer",), "outcome", bounds=RUN_BOUNDS_S
)
RUNS = _own("trainer", "gauge", "runs_under_way", "Training runs that have no end yet")

FORWARDED = _own(
    "forwarder",
    "counter",
    "alerts_total",
    "Alerts that a receiver took; one that is sent again counts again",
    "receiver",
)
NOT_TAKEN = _own(
    "forwarder", "counter", "failures_total", "Calls that a receiver did not take; each is tried again", "receiver"
)
LEFT_OUT = _own(
    "forwarder", "counter", "refused_total", "Alerts that a receiver refused one by one, which are left out", "receiver"
)
NOT_FORWARDED = _own(
    "forwarder", "gauge", "lag_records", "Records of alerts that a receiver has not been given yet", "receiver"
)
TAKEN_AT = _own(
    "forwarder",
    "gauge",
    "taken_time_seconds",
    "When a receiver last took what it was sent, since the epoch",
    "receiver",
)

CATALOGUE = {found.name: found for found in list(globals().values()) if isinstance(found, Metric)}


def of_service(service: str) -> tuple[Metric, ...]:
    """The metrics that a service exports."""
    return tuple(metric for metric in CATALOGUE.values() if service in metric.services)
