"""Services: a row per instance, and the topology with how far behind its readers are."""

from collections.abc import Mapping

from headrace.events.ops import HealthReported
from headrace.hosting.faults import faults_of
from headrace_console.core.documents import Edge, Mark, ServiceRow, Services
from headrace_console.core.reports import FRESH_S, Instance, Reports

# Who writes what, and who reads it: the picture of docs/architecture.md, the way of the data first.
EDGES = (
    ("users", "raw", "pipeline"), ("pipeline", "events", "feature"), ("feature", "features.online", "inference"),
    ("gateway", "inference.requests", "inference"), ("inference", "inference.replies", "gateway"),
    ("inference", "inference.decisions", "monitor"), ("pipeline", "inference.outcomes", "monitor"),
    ("monitor", "monitor.findings", "registry"), ("monitor", "monitor.verdicts", "registry"),
    ("monitor", "training.requests", "trainer"), ("cli", "training.requests", "trainer"),
    ("trainer", "registry.commands", "registry"), ("cli", "registry.commands", "registry"),
    ("console", "registry.commands", "registry"),
    ("registry", "registry.routes", "inference"), ("trainer", "registry.artifacts", "inference"),
    ("monitor", "alerts", "console"), ("cli", "alerts.silences", "monitor"), ("console", "alerts.silences", "monitor"),
    ("cli", "alerts.silences", "console"), ("console", "alerts.silences", "console"), ("registry", "registry.facts", "console"),
)  # fmt: skip
_VERSIONS_SHOWN = 50


def document(reports: Reports, now_s: float) -> Services:
    """The document `services`."""
    shown = reports.shown(now_s)
    lags = _lags(shown)
    edges = {
        f"{writer} {topic} {reader}": Edge(topic, writer, reader, lags.get((reader, topic)))
        for writer, topic, reader in EDGES
    }
    return Services({key: row_of(found, now_s) for key, found in shown.items()}, edges)


def row_of(found: Instance, now_s: float) -> ServiceRow:
    """An instance in the list."""
    report, silent_s = found.report, max(now_s - found.seen_s, 0.0)
    mark, word = state_of(report, silent_s)
    sizes = {name: (held, report.state_limits.get(name, 0)) for name, held in report.state_bytes.items()}
    return ServiceRow(
        report.service,
        report.instance,
        mark,
        word,
        None if found.per_s is None or silent_s > FRESH_S else round(found.per_s, 1),
        sum(report.lag.values()),
        float(int(silent_s)),
        report.shards,
        report.warmed[:_VERSIONS_SHOWN],
        report.started_s,
        report.code_version,
        report.dead_lettered_total,
        dict(report.lag),
        sizes,
    )


def state_of(report: HealthReported, silent_s: float) -> tuple[Mark, str]:
    """The mark of an instance and what it says, in one line."""
    if silent_s > FRESH_S:
        return "attention", "silent"
    if not report.ready:
        return "attention", report.reason or "not ready"
    notes = [
        *faults_of(report),
        *(f"cannot load {name} now: {failed.reason}" for name, failed in sorted(report.failed_loads.items())),
        *(f"rejected {name}: {why}" for name, why in sorted(report.rejected.items())),
    ]
    return ("attention" if notes else "ok"), "; ".join(notes)[:500] or "ready"


def _lags(shown: Mapping[str, Instance]) -> dict[tuple[str, str], int]:
    """Records behind, by service and topic (without version; all raw streams, and all sources, together)."""
    found: dict[tuple[str, str], int] = {}
    for instance in shown.values():
        for place, behind in instance.report.lag.items():
            topic = _bare(place.rsplit("/", 1)[0])
            key = (instance.report.service, topic)
            found[key] = found.get(key, 0) + behind
    return found


def _bare(topic: str) -> str:
    """A topic without its version; `raw` and `events` for those of streams and sources. A namespace is cut off.

    >>> _bare("t1.inference.requests.v1"), _bare("events.landings.v1")
    ('inference.requests', 'events')
    """
    name = topic.rsplit(".v", 1)[0]
    known = {edge[1] for edge in EDGES}
    parts = name.split(".")
    for begin in range(len(parts)):
        rest = ".".join(parts[begin:])
        if rest in known:
            return rest
        if parts[begin] in ("raw", "events"):
            return parts[begin]
    return name
