"""A window closes: what it shows, which findings follow from that, and what each of these rests on."""

from dataclasses import replace

from headrace.events.monitor import FindingOpened
from headrace.step import Step
from headrace_monitor.core import drift
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.explaining import explained, look_at, usual_after
from headrace_monitor.core.facts import FindingFact, WindowReported
from headrace_monitor.core.findings import Findings, key_of, on_window


def close(
    findings: Findings, inputs: WindowInputs, from_s: float, closes_s: float, late: tuple[int, int]
) -> Step[Findings, WindowReported | FindingFact]:
    """A window that begins at `from_s` has closed at `closes_s` of event time: what it shows, and what follows from that.

    `late`: how many requests and outcomes came too late since the last report, see `WindowClosed`.
    """
    window = evaluate(inputs, from_s, late, findings.drift_statistic)
    step = on_window(findings, window, inputs.rows.served_version, closes_s)
    seen = look_at(inputs, window, findings.usual, findings.champion)
    opened = {
        key_of(fact): explained(fact, seen, findings.profiles) for fact in step.facts if isinstance(fact, FindingOpened)
    }
    facts = [opened[key_of(fact)] if isinstance(fact, FindingOpened) else fact for fact in step.facts]
    still_open = {key: opened.get(key, found) for key, found in step.state.open.items()}
    usual = usual_after(seen, is_usual=not any(found.kind == drift.KIND for found in still_open.values()))
    return Step(replace(step.state, open=still_open, usual=usual), (WindowReported(window, findings.champion), *facts))
