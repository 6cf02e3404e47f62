"""What one deployment's closed window says: its figures from columns, parity from a sample of its decisions, profiles of its sources."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade
from headrace.events.monitor import WindowClosed
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.stats.figures import least_labelled
from headrace_monitor.core.figures import figures_of
from headrace_monitor.core.profiles import profile_sources
from headrace_monitor.core.windows import Rows

# So many rows of a window are compared with recomputed ones.
PARITY_ROWS = 5000


@dataclass(frozen=True)
class Seen:
    """What a window is judged by. `sample`: decisions read again; `tables`: of the sources that the deployment's views
    read; `whole_from_s`: from when on they are whole; `topics`: full topic name per source; `alike`: signatures whose rows
    today's views make, rows of others are not compared.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    rows: Rows
    sample: Sequence[DecisionMade]
    tables: Mapping[str, EventTable]
    topics: Mapping[str, str]
    whole_from_s: float
    alike: Collection[str] = ()


def sources_of(project: ProjectDefinition, deployment: DeploymentDefinition) -> list[str]:
    """The sources that a deployment's views read."""
    return sorted({project.view(binding.view).source for binding in deployment.features})


def lookback_s(project: ProjectDefinition, deployment: DeploymentDefinition) -> float:
    """How far before its instant a row may look, with an hour to spare."""
    views = [project.view(binding.view) for binding in deployment.features]
    windows = [feature.window_s for view in views for feature in view.features]
    return max(windows, default=0) + deployment.settle_s + 3600.0


def prior_of(deployment: DeploymentDefinition) -> float | tuple[float, ...] | None:
    """What the last rung of the ladder says; None where it has none."""
    found = next((rung for rung in deployment.ladder if rung.kind == "prior"), None)
    return None if found is None else found.shares or found.value


def _comparable(seen: Seen) -> list[DecisionMade]:
    """Decisions whose features can be made again: by views of today, from sources that are whole as far back as they look."""
    if not seen.deployment.features:
        return []
    back_s = lookback_s(seen.project, seen.deployment)
    return [row for row in seen.sample if row.signature in seen.alike and row.at_s - back_s >= seen.whole_from_s]


def evaluate(seen: Seen, from_s: float, late: tuple[int, int], drift_statistic: float | None) -> WindowClosed:
    """The event of a window that has closed. `late`: requests and outcomes, see `WindowClosed`."""
    deployment, rows = seen.deployment, seen.rows
    to_s = from_s + deployment.cohort_s
    known = ~np.isnan(rows.labels)
    labelled = int(known.sum())
    figures = figures_of(deployment.label, rows, seen.sample, prior_of(deployment))
    skew = parity(
        seen.project,
        deployment,
        seen.tables,
        seen.topics,
        _comparable(seen),
    )
    is_whole = from_s >= seen.whole_from_s
    lacking = _lacking(deployment, labelled, len(rows))
    return WindowClosed(
        deployment=deployment.name,
        from_s=from_s,
        to_s=to_s,
        requests=len(rows),
        labelled=labelled,
        positive_share=figures.positive_share,
        verdict="UNMEASURED" if lacking else "PASS",
        qualities=figures.qualities,
        answers=rows.answers,
        parity_rows=skew.rows,
        parity_tiles=skew.tiles,
        parity_as_of=skew.as_of,
        missing_share=skew.missing_share,
        max_feature_lag_s=skew.max_lag_s,
        drift_statistic=drift_statistic,
        skew=skew.skew,
        sources=profile_sources(seen.project, deployment, seen.tables, from_s, to_s) if is_whole else (),
        late_requests=late[0],
        late_outcomes=late[1],
        outcomes_beyond=rows.beyond,
        class_shares=figures.class_shares,
        mean_label=figures.mean_label,
        unmeasured=figures.unmeasured or lacking,
    )


def _lacking(deployment: DeploymentDefinition, labelled: int, requests: int) -> str:
    """Why a window that has closed is not judged: too few labels came, which are no fair sample; "" where enough did."""
    least = least_labelled(deployment.coverage)
    if labelled >= least * requests:
        return ""
    return f"{labelled:,} of {requests:,} requests have a label, {least:.0%} are needed"
