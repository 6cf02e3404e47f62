"""A window closes: what it shows, which findings follow from that, and what each of these rests on.

Before that, when its requests are all there: what it is estimated to show.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from msgspec import structs

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade
from headrace.events.monitor import FindingOpened, WindowClosed, WindowEstimated
from headrace.events.verdicts import PASS
from headrace.step import Step
from headrace_monitor.core import audit
from headrace_monitor.core.budget import measured
from headrace_monitor.core.chart_figures import seen_of, segments_of
from headrace_monitor.core.charts import is_drift
from headrace_monitor.core.estimation import on_window_closed, on_window_full
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.explaining import explained, look_at, usual_after
from headrace_monitor.core.facts import FindingFact, WindowReported
from headrace_monitor.core.findings import Findings, key_of, on_window
from headrace_monitor.core.further_change import after_figures
from headrace_monitor.core.measures import Custom
from headrace_monitor.core.scored import scored_of
from headrace_monitor.core.windows import Late, Rows


def close(
    findings: Findings,
    inputs: WindowInputs,
    from_s: float,
    closes_s: float,
    late: Late,
    custom: Custom = MappingProxyType({}),
) -> Step[Findings, WindowReported | FindingFact]:
    """A window that begins at `from_s` has closed at `closes_s` of event time: what it shows, and what follows from that.

    `late`: what came too late since the last report. `custom`: what the
    project's own metrics are, see `measures`.
    """
    window = evaluate(inputs, from_s, late, findings.drift_statistic, custom)
    learnt = on_window_closed(findings.estimation, inputs.deployment.label, inputs.scored, window)
    window, findings = structs.replace(window, estimates=learnt.facts), replace(findings, estimation=learnt.state)
    findings, window = _charted(findings, inputs, window)
    audited = audit.on_window(findings.audit, inputs, window.verdict, from_s, window.to_s)
    findings = replace(findings, audit=audited.state)
    step = on_window(findings, window, inputs.rows.served_version, closes_s)
    seen = look_at(inputs, window, findings.usual, findings.champion)
    opened = {
        key_of(fact): explained(fact, seen, findings.profiles) for fact in step.facts if isinstance(fact, FindingOpened)
    }
    facts = [opened[key_of(fact)] if isinstance(fact, FindingOpened) else fact for fact in step.facts]
    still_open = {key: opened.get(key, found) for key, found in step.state.open.items()}
    usual = usual_after(seen, is_usual=not any(map(is_drift, still_open.values())))
    published = (WindowReported(window, findings.champion), *facts, *audited.facts)
    return Step(replace(step.state, open=still_open, usual=usual), published)


def estimate(
    findings: Findings, deployment: DeploymentDefinition, rows: Rows, sample: Sequence[DecisionMade], from_s: float
) -> Step[Findings, WindowEstimated]:
    """The requests of a window that begins at `from_s` are all there: what its metrics are estimated to be.

    `rows`: with the labels that are known by now. `sample`: decisions of it, read again, for several classes.
    """
    scored = () if deployment.label is None else scored_of(deployment.label, rows, sample)
    requests = len(rows), int((~np.isnan(rows.labels)).sum())
    step = on_window_full(findings.estimation, deployment, from_s, scored, requests)
    return Step(replace(findings, estimation=step.state), step.facts)


def _charted(findings: Findings, inputs: WindowInputs, window: WindowClosed) -> tuple[Findings, WindowClosed]:
    """The findings and the window with the points of the charts; of a window that is not judged there are none."""
    deployment = inputs.deployment
    if deployment.label is None or window.verdict != PASS:
        return findings, window
    parts = segments_of(deployment, inputs.rows, inputs.sample, inputs.columns, findings.charts.segments)
    seen = seen_of(deployment.label, inputs.scored, findings.champion, parts)
    memory, points = after_figures(findings.charts, deployment, inputs.reference, window.from_s, seen)
    memory = measured(memory, deployment, inputs.reference)
    return replace(findings, charts=memory), structs.replace(window, charts=points)
