"""Counters, gauges and histograms of the catalogue that have no place of their own in the health record.

Plain numbers, since the loop thread alone writes them; the thread that answers /metrics copies them. Every metric has
at most `MOST_SERIES` series: further ones are counted together, with the label values `other`.
"""

from collections.abc import Mapping

from headrace.hosting.catalogue import Metric
from headrace.latency import Digest

MOST_SERIES = 256
OTHER = "other"
Labels = tuple[str, ...]
Value = float | Digest


class Measured:
    """The values of one instance, per metric and label values (in the order of `Metric.labels`)."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, Value]] = {}

    def count(self, metric: Metric, *labels: str, times: float = 1) -> None:
        """Add to a counter."""
        series, key = self._place(metric, labels)
        series[key] = series.get(key, 0.0) + times  # ty: ignore[unsupported-operator] - counters hold numbers

    def observe(self, metric: Metric, *labels: str, value: float, times: int = 1) -> None:
        """Count a value in a histogram, `times` times."""
        self.digest(metric, *labels).add(value, times)

    def digest(self, metric: Metric, *labels: str) -> Digest:
        """The histogram of these labels, to be added to."""
        series, key = self._place(metric, labels)
        found = series.get(key)
        if not isinstance(found, Digest):
            found = series[key] = Digest(metric.bounds)
        return found

    def put(self, metric: Metric, *labels: str, value: float) -> None:
        """Set one series of a gauge."""
        series, key = self._place(metric, labels)
        series[key] = value

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Set all series of a gauge; those that are not named are gone. Beyond `MOST_SERIES` further ones are left out."""
        self._values[metric.name] = dict(list(values.items())[:MOST_SERIES])

    def read(self, metric: Metric) -> dict[Labels, Value]:
        """The series of a metric. May be called from any thread."""
        return dict(self._values.get(metric.name, {}))

    def _place(self, metric: Metric, labels: Labels) -> tuple[dict[Labels, Value], Labels]:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, got {labels}")
        series = self._values.setdefault(metric.name, {})
        if labels not in series and len(series) >= MOST_SERIES:
            labels = (OTHER,) * len(labels)
        return series, labels
