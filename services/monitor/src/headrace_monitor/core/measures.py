"""Which metrics a closed window has, of each version and role, of all its rows and of its slices.

Of all rows: the usual metrics of the label's kind and those that the deployment names. Of a slice, as `name@column=value`: the
loss, the named ones, and `rows`, how many labelled rows it has; a slice with fewer than 30 of them has none. The functions of
the project are computed elsewhere, in a process of their own: here it is only said of what.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import VersionQuality
from headrace.stats.losses import NUMBER
from headrace.stats.metric_names import USUAL, is_reference
from headrace_monitor.core.metrics import values_of
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.slices import LEAST_ROWS, Slice

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled scores of one version in one role. `suffix`: "" for all of a window, `@column=value` for a slice."""

    version: int
    role: str
    suffix: str
    labels: Floats
    scores: Floats


# What the functions of the project made of each part: values by name, suffix included.
Custom = Mapping[tuple[int, str], Mapping[str, float]]


def parts_of(scored: Sequence[Scored], slices: Sequence[Slice]) -> Iterator[Part]:
    """All labelled scores of each version and role, and after them those of each slice that has enough."""
    for one in scored:
        yield Part(one.version, one.role, "", one.labels, one.scores)
        for part in slices:
            mine = part.rows[one.rows]
            if mine.sum() >= LEAST_ROWS:
                yield Part(one.version, one.role, f"@{part.name}", one.labels[mine], one.scores[mine])


def with_metrics(
    deployment: DeploymentDefinition,
    qualities: Sequence[VersionQuality],
    scored: Sequence[Scored],
    slices: Sequence[Slice],
    custom: Custom,
) -> tuple[VersionQuality, ...]:
    """The qualities with their metrics by name. `custom`: what functions of the project made of the same rows."""
    label = deployment.label
    if label is None:
        return tuple(qualities)
    named = [name for name in deployment.metrics if not is_reference(name)]
    of_all = list(dict.fromkeys((*USUAL[label.kind], *named)))
    of_slices = list(dict.fromkeys(("rmse" if label.kind == NUMBER else "log_loss", *named)))
    found: dict[tuple[int, str], dict[str, float]] = {}
    for part in parts_of(scored, slices):
        values = values_of(of_slices if part.suffix else of_all, label.kind, part.labels, part.scores)
        mine = found.setdefault((part.version, part.role), {})
        mine |= {f"{name}{part.suffix}": value for name, value in values.items()}
        if part.suffix:
            mine[f"rows{part.suffix}"] = float(len(part.labels))
    return tuple(
        replace(one, metrics=found.get(key, {}) | dict(custom.get(key, {})))
        for one in qualities
        for key in [(one.version, one.role)]
    )
