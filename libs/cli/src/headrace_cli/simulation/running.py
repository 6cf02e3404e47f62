"""Reads a deployment's log and simulates rollouts on it, or says in one sentence why there is nothing to simulate."""

from collections.abc import Callable
from pathlib import Path

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.stats.planning import LEAST_CYCLES
from headrace_cli.session import Session
from headrace_cli.simulation.notes import notes_of
from headrace_cli.simulation.plan_file import plan_of
from headrace_cli.simulation.recorded import MOST_DECISIONS, Recorded, recorded
from headrace_cli.simulation.report import Report
from headrace_cli.simulation.sample import Sample, sample_of, too_few
from headrace_cli.simulation.simulating import simulate

Progress = Callable[[float, str], None]

# The share of the progress that reading takes.
_READING = 0.1


async def simulate_rollouts(
    session: Session,
    deployment: str,
    plan: Path | None,
    runs: int,
    decisions: int = MOST_DECISIONS,
    progress: Progress = lambda share, text: None,
) -> Report:
    """Simulate `runs` rollouts of each version on the deployment's own log, by its plan or the fields of a file.

    `decisions`: how many of the newest records of decisions are read. Raises `Misconfigured` where there is nothing to simulate.
    """
    found = session.projects.deployment(deployment)
    if found is None:
        known = ", ".join(sorted(one.name for _, one in session.projects.deployments())) or "none"
        raise Misconfigured(f"no applied project declares {deployment!r} (declared: {known})")
    chosen = plan_of(found[1], plan)
    if found[1].label is None:
        raise Misconfigured(
            f"{deployment} declares no label: its rollouts end by guardrails and a person, so there is nothing to simulate;"
            " declare label=Binary(...), Multiclass(...) or Regression(...)"
        )
    read = await recorded(
        session.log,
        session.codec,
        session.topics,
        found[1],
        decisions,
        lambda share: progress(_READING * share, "reading the log"),
    )
    return simulated(found[1], chosen, read, runs, progress)


def simulated(
    deployment: DeploymentDefinition,
    plan: RolloutDefinition,
    read: Recorded,
    runs: int,
    progress: Progress = lambda share, text: None,
) -> Report:
    """The same on what was read."""
    sample = sample_of(read, plan)
    _refuse_too_little(deployment.name, read, sample)
    delay_s = plan.delay_s(read.label)
    window_cycles = None
    if plan.policy == "blue_green":
        window_cycles = max(plan.rollback_window_s - delay_s, 0.0) / sample.judging.cycle_s
    done = simulate(
        read,
        sample,
        plan,
        runs,
        window_cycles,
        lambda share, text: progress(_READING + (1 - _READING) * share, text),
    )
    notes = tuple(notes_of(read, sample, plan))
    return Report(deployment.name, read, done, delay_s, window_cycles, notes)


def _refuse_too_little(name: str, read: Recorded, sample: Sample) -> None:
    if not len(read):
        raise Misconfigured(
            f"no version of {name} has answered a request yet, so there is nothing to simulate: let a champion answer"
            " traffic first (`headrace model list`, `headrace predict`)"
        )
    if not read.labelled:
        raise Misconfigured(
            f"none of the {len(read):,} answers of {name} on the log has a label: write outcomes"
            " (`headrace outcome send`), by unit or by request_id"
        )
    if sample.cycles < LEAST_CYCLES:
        more = f"read more with --decisions ({read.cut:,} older records)" if read.cut else "wait for more"
        raise Misconfigured(f"{name}: {too_few(read, sample)}: {more}, or try a shorter season with --plan")
