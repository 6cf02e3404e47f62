"""The metric catalogue, and the page that Prometheus reads.

Names are `headrace_<thing>_<unit>[_total]` with the service as a label from a closed set, never an id. All metrics are
read from `Health` at scrape time, so every metric has a source.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.hosting.health import Health


class HealthCollector(Collector):
    """Turns one instance's health into metrics."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """The present metrics."""
        health = self._health
        yield _gauge(
            "headrace_ready", "1 when the instance does its work, 0 when not", health.service, float(health.is_ready)
        )
        yield _gauge("headrace_shards_owned", "Shards that this instance owns", health.service, len(health.shards))
        yield _gauge(
            "headrace_versions_warmed", "Model versions that are loaded and warm", health.service, len(health.warmed)
        )
        yield _counter("headrace_records_handled_total", "Input records handled", health.service, health.handled)
        yield _counter(
            "headrace_records_dead_lettered_total",
            "Records that could not be read",
            health.service,
            health.dead_lettered,
        )
        lag = GaugeMetricFamily("headrace_lag_records", "Records behind, per topic", labels=["service", "topic"])
        for topic, records in _by_topic(health.lag).items():
            lag.add_metric([health.service, topic], records)
        yield lag
        yield from _of_sources(health)
        yield from _of_states(health)
        if health.service == "gateway":
            yield _counter(
                "headrace_unforeseen_errors_total",
                "Calls that failed for no known reason (HTTP 500)",
                health.service,
                health.unforeseen,
            )
        yield from _of_deployments(health)
        if health.service == "inference":
            yield from _of_inference(health)


def _of_inference(health: Health) -> Iterator[Metric]:
    """The metrics of inference: breakers, overload, hung calls."""
    yield _breakers(health)
    yield GaugeMetricFamily(
        "headrace_inference_overload_level",
        "0 none, 1 shadows are dropped, 2 the baseline too, 3 requests are refused; the worst deployment's",
        value=max(health.overload.values(), default=0),
    )
    yield GaugeMetricFamily(
        "headrace_inference_hung_calls",
        "Calls of models that hang for good; each may use a core until the process is restarted",
        value=sum(health.hung_calls.values()),
    )


def _breakers(health: Health) -> Metric:
    """The number of loaded versions in each state. `health.breakers` has those that are not closed, as `STATE: why`."""
    gauge = GaugeMetricFamily("headrace_inference_breakers", "Loaded versions by breaker state", labels=["state"])
    states = [text.partition(":")[0] for text in health.breakers.values()]
    open_, half_open = states.count("open"), states.count("half_open")
    gauge.add_metric(["closed"], max(0, len(health.warmed) - open_ - half_open))
    gauge.add_metric(["open"], open_)
    gauge.add_metric(["half_open"], half_open)
    return gauge


def _of_states(health: Health) -> Iterator[Metric]:
    """The size of every growing state, and its bound (docs/architecture.md)."""
    held = GaugeMetricFamily(
        "headrace_state_bytes", "What a state that grows holds, by estimate", labels=["service", "state"]
    )
    bound = GaugeMetricFamily("headrace_state_limit_bytes", "The bound of that state", labels=["service", "state"])
    for state, count in sorted(health.state_bytes.items()):
        held.add_metric([health.service, state], count)
        bound.add_metric([health.service, state], health.state_limits[state])
    yield from (found for found in (held, bound) if found.samples)


def _of_sources(health: Health) -> Iterator[Metric]:
    """The metrics of the feature service's sources."""
    newest = GaugeMetricFamily(
        "headrace_feature_newest_event_seconds", "Instant of the newest event contained, event time", labels=["source"]
    )
    for source, at_s in _by_source(health.newest_event_s, max).items():
        newest.add_metric([source], at_s)
    late = CounterMetricFamily(
        "headrace_feature_late_events_total", "Events that came after their panes were dropped", labels=["source"]
    )
    for source, count in _by_source(health.late, sum).items():
        late.add_metric([source], count)
    repeated = CounterMetricFamily(
        "headrace_feature_repeated_events_total", "Events dropped as repeats (dedupe)", labels=["source"]
    )
    for source, count in _by_source(health.repeated, sum).items():
        repeated.add_metric([source], count)
    built = GaugeMetricFamily(
        "headrace_feature_view_built_share", "Share read of the history of views being built", labels=["source"]
    )
    for source, share in _by_source(health.building, min).items():
        built.add_metric([source], share)
    yield from (found for found in (newest, late, repeated, built) if found.samples)


def _of_deployments(health: Health) -> Iterator[Metric]:
    """What the monitor received after its evaluation window had closed."""
    for what, counts in (("requests", health.late_requests), ("outcomes", health.late_outcomes)):
        late = CounterMetricFamily(
            f"headrace_monitor_late_{what}_total",
            f"{what.capitalize()} that came after their evaluation window had closed",
            labels=["deployment"],
        )
        for deployment, count in sorted(counts.items()):
            late.add_metric([deployment], count)
        if late.samples:
            yield late


def _by_source(values: dict, fold: Callable[[list], float]) -> dict[str, float]:
    grouped: dict[str, list] = {}
    for place, value in values.items():
        grouped.setdefault(place.rpartition("/")[0], []).append(value)
    return {source: fold(found) for source, found in grouped.items()}


def page(health: Health) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry()
    registry.register(HealthCollector(health))
    return generate_latest(registry)


def _gauge(name: str, help_text: str, service: str, value: float) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(name, help_text, labels=["service"])
    metric.add_metric([service], value)
    return metric


def _counter(name: str, help_text: str, service: str, value: float) -> CounterMetricFamily:
    metric = CounterMetricFamily(name, help_text, labels=["service"])
    metric.add_metric([service], value)
    return metric


def _by_topic(lag: dict[str, int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for place, records in lag.items():
        topic = place.rsplit("/", 1)[0]
        totals[topic] = totals.get(topic, 0) + records
    return totals
