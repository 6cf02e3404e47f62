"""What an instance exports, as a test compares it with the catalogue."""

from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

from headrace.hosting.catalogue import CATALOGUE, Metric
from headrace.hosting.health import Health
from headrace.hosting.metrics import page

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scraped(health: Health) -> Samples:
    """The samples of /metrics, by the names of the catalogue: of a histogram, the counts of its series.

    Raises `AssertionError` for a metric that the catalogue has not, or has with another kind or other labels.
    """
    found: Samples = {}
    for family in text_string_to_metric_families(page(health).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        metric = CATALOGUE.get(name)
        assert metric is not None, f"{name} is not in the catalogue"
        assert family.type == metric.kind, f"{name} is a {family.type}"
        assert health.service in metric.services, f"{name} is not exported by {health.service}"
        wanted = f"{name}_count" if metric.kind == "histogram" else name
        samples = [(sample.labels, sample.value) for sample in family.samples if sample.name == wanted]
        assert all(set(labels) == set(metric.labels) for labels, _ in samples), f"{name} has other labels"
        found[name] = samples
    return found


def unset(service: str, pages: Sequence[Samples], may_be_zero: Sequence[Metric] = ()) -> set[str]:
    """The metrics of a service that none of these pages has set: they are not exported, or are 0 everywhere.

    `may_be_zero`: those for which it is enough that they are exported.
    """
    missing = set()
    for metric in CATALOGUE.values():
        if service not in metric.services:
            continue
        samples = [sample for found in pages for sample in found.get(metric.name, ())]
        if not samples or (metric not in may_be_zero and not any(value for _, value in samples)):
            missing.add(metric.name)
    return missing
