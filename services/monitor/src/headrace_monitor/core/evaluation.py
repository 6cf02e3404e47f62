"""What a closed window of one deployment shows: its figures, the parity of its rows, the profiles of its sources.

The figures come from the columns of the window, parity from a sample of its decisions that is read from the log again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from headrace.events.charts import ColumnSeen
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade
from headrace.events.monitor import SourceProfile, WindowClosed
from headrace.events.references import VersionReference
from headrace.events.verdicts import PASS, UNMEASURED
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.stats.figures import least_labelled
from headrace_monitor.core.efficacy import pairs_of
from headrace_monitor.core.facts import WindowReported
from headrace_monitor.core.measures import Custom, with_metrics
from headrace_monitor.core.profiles import profile_sources
from headrace_monitor.core.quality import figures_of
from headrace_monitor.core.scored import Scored, labelled_of
from headrace_monitor.core.slices import Columns, Slice, slices_of
from headrace_monitor.core.windows import Late, Rows

# So many decisions of a window are read again: their rows are compared with recomputed ones, and explain findings.
SAMPLE_ROWS = 5000


@dataclass(frozen=True)
class WindowInputs:
    """What a window is judged by.

    `sample`: decisions of it, read again. `tables`: of the sources that the deployment's views read, by name.
    `whole_from_s`: the instant from which on these are whole. `topics`: the full topic name per source. `comparable`: digests
    of the signatures whose rows today's views make; rows of other signatures are not compared. `columns`: of each signature.
    `decisions`: the full name of the topic of decisions. `seen`: the columns of its rows beside those of the training rows.
    `reference`: what is normal for the champion, None where it brings nothing.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    rows: Rows
    sample: Sequence[DecisionMade]
    tables: Mapping[str, EventTable]
    topics: Mapping[str, str]
    whole_from_s: float
    comparable: Collection[str] = ()
    columns: Columns = field(default_factory=dict)
    decisions: str = ""
    seen: tuple[ColumnSeen, ...] = ()
    reference: VersionReference | None = None

    @cached_property
    def scored(self) -> tuple[Scored, ...]:
        """The labelled scores of each version and role."""
        label = self.deployment.label
        return () if label is None else labelled_of(label, self.rows, self.sample)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The slices that the deployment declares."""
        return slices_of(self.deployment, self.rows, self.sample, self.columns)


def sources_of(project: ProjectDefinition, deployment: DeploymentDefinition) -> list[str]:
    """The names of the sources that a deployment's views read, sorted."""
    return sorted({project.view(binding.view).source for binding in deployment.features})


def lookback_s(project: ProjectDefinition, deployment: DeploymentDefinition) -> float:
    """How far before its instant a row may look, in seconds, with an hour to spare."""
    views = [project.view(binding.view) for binding in deployment.features]
    windows = [feature.window_s for view in views for feature in view.features]
    return max(windows, default=0) + deployment.feature_delay_s + 3600.0


def prior_of(deployment: DeploymentDefinition) -> float | tuple[float, ...] | None:
    """What the prior at the end of the fallback chain answers; None where the chain has none."""
    found = next((step for step in deployment.fallback if step.kind == "prior"), None)
    return None if found is None else found.probabilities or found.value


def unmeasured(deployment: DeploymentDefinition, champion: int | None, from_s: float, requests: int) -> WindowReported:
    """A window that could not be evaluated: that it is over, and nothing else. `requests`: how many it held."""
    why = "it could not be evaluated: the alert MonitoringFailed has the reason"
    to_s = from_s + deployment.evaluation_window_s
    window = WindowClosed(deployment.name, from_s, to_s, requests, 0, None, UNMEASURED, unmeasured=why)
    return WindowReported(window, champion)


def evaluate(
    inputs: WindowInputs,
    from_s: float,
    late: Late,
    drift_statistic: float | None,
    custom: Custom = MappingProxyType({}),
) -> WindowClosed:
    """The event of a window that has closed. `late`: since the last report. `custom`: the project's own metrics, see `measures`."""
    deployment, rows, to_s = inputs.deployment, inputs.rows, from_s + inputs.deployment.evaluation_window_s
    figures = figures_of(deployment.label, rows, inputs.scored, prior_of(deployment))
    skew = parity(inputs.project, deployment, inputs.tables, inputs.topics, comparable_of(inputs))
    lacking = _lacking(deployment, rows.labelled, len(rows))
    return WindowClosed(
        deployment=deployment.name,
        from_s=from_s,
        to_s=to_s,
        requests=len(rows),
        labelled=rows.labelled,
        positive_share=figures.positive_share,
        verdict=UNMEASURED if lacking else PASS,
        qualities=with_metrics(deployment, figures.qualities, inputs.scored, inputs.slices, custom),
        answers=rows.answers,
        parity_rows=skew.rows,
        parity_tiles=skew.tiles,
        parity_as_of=skew.as_of,
        missing_share=skew.missing_share,
        max_feature_lag_s=skew.max_lag_s,
        drift_statistic=drift_statistic,
        skew=skew.skew,
        sources=_sources_in(inputs, from_s, to_s),
        late_requests=late.requests,
        late_outcomes=late.outcomes,
        late_corrections=late.corrections,
        outcomes_beyond=rows.beyond,
        label_delay_s=rows.label_delay_s,
        class_shares=figures.class_shares,
        mean_label=figures.mean_label,
        unmeasured=figures.unmeasured or lacking,
        columns=inputs.seen,
        pairs=pairs_of(deployment.label, inputs.scored),
    )


def _sources_in(inputs: WindowInputs, from_s: float, to_s: float) -> tuple[SourceProfile, ...]:
    """The profiles of the sources, where all of their events are there."""
    is_whole = from_s >= inputs.whole_from_s
    return profile_sources(inputs.project, inputs.deployment, inputs.tables, from_s, to_s) if is_whole else ()


def comparable_of(inputs: WindowInputs) -> list[DecisionMade]:
    """The decisions whose features can be recomputed: by views of today, from sources that are whole as far as they look back."""
    if not inputs.deployment.features:
        return []
    back_s = lookback_s(inputs.project, inputs.deployment)
    return [
        decision
        for decision in inputs.sample
        if decision.signature in inputs.comparable and decision.at_s - back_s >= inputs.whole_from_s
    ]


def _lacking(deployment: DeploymentDefinition, labelled: int, requests: int) -> str:
    """Why a closed window is not judged: too few labels came, which are no fair sample. "" where enough came."""
    least = least_labelled(deployment.coverage)
    if labelled >= least * requests:
        return ""
    return f"{labelled:,} of {requests:,} requests have a label, {least:.0%} are needed"
