"""The page that Prometheus reads: the metrics of the catalogue, as the health record has them at this moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from headrace.hosting import catalogue as of
from headrace.hosting.catalogue import Metric
from headrace.hosting.health import Health
from headrace.hosting.measured import OTHER, Labels, Value
from headrace.hosting.traffic import REST, Tally
from headrace.latency import Digest

Series = Mapping[Labels, Value]


class HealthCollector(Collector):
    """Turns one instance's health into metrics. A metric without any series is left out."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Family]:
        """The present metrics."""
        for metric in of.of_service(self._health.service):
            series = series_of(metric, self._health)
            if series:
                yield _family(metric, series)


def page(health: Health) -> bytes:
    """The text of /metrics. May be called from any thread."""
    registry = CollectorRegistry()
    registry.register(HealthCollector(health))
    return generate_latest(registry)


def series_of(metric: Metric, health: Health) -> Series:
    """The values of a metric, by the values of its labels."""
    read = _READ.get(metric.name)
    return health.measured.read(metric) if read is None else read(health)


def _family(metric: Metric, series: Series) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, digest in sorted(series.items(), key=_labels):
            if isinstance(digest, Digest):
                histogram.add_metric(labels, _buckets(digest), digest.total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(series.items(), key=_labels):
        family.add_metric(labels, value)  # ty: ignore[invalid-argument-type] - only histograms hold digests
    return family


def _labels(series: tuple[Labels, Value]) -> Labels:
    return series[0]


def _buckets(digest: Digest) -> list[tuple[str, float]]:
    """The counts up to each bound, as Prometheus wants them."""
    below, found = 0, []
    for bound, count in zip((*map(str, digest.bounds), "+Inf"), list(digest.counts), strict=True):
        below += count
        found.append((bound, below))
    return found


def _one(value: Callable[[Health], float]) -> Callable[[Health], Series]:
    """A metric without labels, or with that of the service alone, which every instance exports."""
    return lambda health: {(health.service,): value(health)}


def _bare(value: Callable[[Health], float]) -> Callable[[Health], Series]:
    return lambda health: {(): value(health)}


def _by_service(values: Callable[[Health], Mapping[str, float]]) -> Callable[[Health], Series]:
    return lambda health: {(health.service, name): value for name, value in dict(values(health)).items()}


def _by_source(values: Callable[[Health], Mapping[str, float]], fold: Callable[[Iterable[float]], float]) -> Callable[[Health], Series]:  # fmt: skip
    """Values by `source/partition`, folded to one per source."""
    return lambda health: {(name,): value for name, value in _grouped(values(health), fold).items()}


def _grouped(values: Mapping[str, float], fold: Callable[[Iterable[float]], float]) -> dict[str, float]:
    grouped: dict[str, list[float]] = {}
    for place, value in dict(values).items():
        grouped.setdefault(place.rpartition("/")[0], []).append(value)
    return {name: fold(found) for name, found in grouped.items()}


def _by_deployment(value: Callable[[Tally], Value]) -> Callable[[Health], Series]:
    return lambda health: {(_name(name),): value(tally) for name, tally in dict(health.traffic.tallies).items()}


def _requests(health: Health) -> Series:
    return {
        (_name(name), version, outcome): count
        for name, tally in dict(health.traffic.tallies).items()
        for (outcome, version), count in dict(tally.answered).items()
    }


def _name(deployment: str) -> str:
    return OTHER if deployment == REST else deployment


def _breakers(health: Health) -> Series:
    """The number of loaded versions in each state. `health.breakers` has those that are not closed, as `STATE: why`."""
    states = [text.partition(":")[0] for text in dict(health.breakers).values()]
    open_, half_open = states.count("open"), states.count("half_open")
    closed = max(0, len(health.warmed) - open_ - half_open)
    return {("closed",): closed, ("open",): open_, ("half_open",): half_open}


def _late(counts: Callable[[Health], Mapping[str, int]]) -> Callable[[Health], Series]:
    return lambda health: {(name,): count for name, count in dict(counts(health)).items()}


_READ: Mapping[str, Callable[[Health], Series]] = {
    of.READY.name: _one(lambda health: float(health.is_ready)),
    of.SHARDS.name: _one(lambda health: len(health.shards)),
    of.HANDLED.name: _one(lambda health: health.handled),
    of.DEAD_LETTERED.name: _one(lambda health: health.dead_lettered),
    of.LAG.name: lambda health: {(health.service, t): n for t, n in _grouped(health.lag, sum).items()},
    of.COMMIT.name: lambda health: {(health.service,): health.commits},
    of.STATE.name: _by_service(lambda health: health.state_bytes),
    of.STATE_LIMIT.name: _by_service(lambda health: health.state_limits),
    of.UNFORESEEN.name: _one(lambda health: health.unforeseen),
    of.NEWEST_EVENT.name: _by_source(lambda health: health.newest_event_s, max),
    of.LATE_EVENTS.name: _by_source(lambda health: health.late, sum),
    of.REPEATED_EVENTS.name: _by_source(lambda health: health.repeated, sum),
    of.VIEW_BUILT.name: _by_source(lambda health: health.building, min),
    of.WARMED.name: _one(lambda health: len(health.warmed)),
    of.REQUESTS.name: _requests,
    of.LATENCY.name: _by_deployment(lambda tally: tally.latency),
    of.STAGE.name: lambda health: {(stage,): digest for stage, digest in health.traffic.stages.items()},
    of.SCORES.name: _by_deployment(lambda tally: tally.scores),
    of.MISSING.name: _by_deployment(lambda tally: tally.missing),
    of.STALE.name: _by_deployment(lambda tally: tally.stale),
    of.ROWS.name: _by_deployment(lambda tally: tally.rows),
    of.UNKNOWN_ROWS.name: _by_deployment(lambda tally: tally.unknown),
    of.OVERLOAD.name: _bare(lambda health: max(dict(health.overload).values(), default=0)),
    of.HUNG_CALLS.name: _bare(lambda health: sum(dict(health.hung_calls).values())),
    of.BREAKERS.name: _breakers,
    of.LATE_REQUESTS.name: _late(lambda health: health.late_requests),
    of.LATE_OUTCOMES.name: _late(lambda health: health.late_outcomes),
    of.LATE_CORRECTIONS.name: _late(lambda health: health.late_corrections),
}
