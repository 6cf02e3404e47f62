"""The reference page of all metrics, from the catalogue: `python -m headrace.hosting.metrics_reference [--check]`."""

import sys
from pathlib import Path

from headrace.generated import write_or_check
from headrace.hosting.catalogue import CATALOGUE, LABELS, SERVICES, Metric

FILE = Path("docs/reference/metrics.md")


def reference() -> str:
    """The page in Markdown: a table per service, and what the labels may hold."""
    lines = [
        "# Metrics",
        "",
        "Every service answers `GET /metrics` on its health port. This page is written by `make schemas` from"
        " `headrace.hosting.catalogue`.",
        "Counters and histograms begin at 0 with each start of an instance. Metrics are for machines: what needs a person is"
        " an alert (`headrace alert list`).",
        "",
    ]
    shared = [metric for metric in CATALOGUE.values() if len(metric.services) > 1]
    lines += _table("Several services", shared)
    for service in SERVICES:
        own = [metric for metric in CATALOGUE.values() if metric.services == (service,)]
        if own:
            lines += _table(service.capitalize(), own)
    lines += ["## Labels", "", "| label | values |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {text} |" for name, text in LABELS.items())]) + "\n"


def _table(title: str, metrics: list[Metric]) -> list[str]:
    head = [f"## {title}", "", "| metric | kind | labels | what it says |", "|---|---|---|---|"]
    return [*head, *map(_row, metrics), ""]


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    bounds = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.bounds)}." if metric.bounds else ""
    all_of_them = len(metric.services) in (1, len(SERVICES))
    only = "" if all_of_them else f" Of {', '.join(metric.services)}."
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}.{only}{bounds} |"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` report whether it differs."""
    return write_or_check(FILE, reference(), "the catalogue", arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
