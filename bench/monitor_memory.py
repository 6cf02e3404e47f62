"""What late labels cost the monitor in memory: the same decisions with a horizon of a day, and of 30 days.

Each horizon is a process of its own. Each label comes after .98 of the horizon, so that no window closes much earlier. What is
measured is the peak of the resident memory while the monitor's core takes the decisions and closes the windows, and beside it
what the rows and the labels take by the core's own count.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from bench.measure import ForeignLoad, Row, below, progress

DAY = 86_400.0
DECISIONS, DAYS, HORIZONS = 10_000_000, 60, (1, 30)
MOST_TIMES = 1.5


def run() -> list[Row]:
    """The rows of the report."""
    with ForeignLoad() as load:
        found = {}
        for days in HORIZONS:
            progress(f"monitor: {DECISIONS:,} decisions, a horizon of {days} d")
            found[days] = _measured(days)
    short, long = (found[days] for days in HORIZONS)
    times = long["peak_mib"] / short["peak_mib"]
    most = f"at most {MOST_TIMES} times of a horizon of a day, {short['peak_mib']:.0f} MiB"
    return [
        below("memory.monitor at a horizon of 30 d", "times", [times], most, MOST_TIMES, load.share),
        below(
            "memory.labels lost at a horizon of 30 d",
            "labels",
            [DECISIONS - long["labelled"]],
            f"none of {DECISIONS:,}",
            1,
            load.share,
        ),
    ]


def _measured(horizon_days: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.monitor_memory", "--horizon", str(horizon_days)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def fed(horizon_days: int, decisions: int) -> dict[str, float]:
    """Feed the windows of one deployment; the figures of this process. Imported here: the parent is not measured."""
    from headrace.events.inference import DecisionMade, Score, Served
    from headrace.features.outcomes import KnownOutcome
    from headrace.project import Binary, Deployment, Number, Project
    from headrace.project.compile import compile_project
    from headrace_monitor.adapters.spill import Spill
    from headrace_monitor.core.windows import Windows

    label = Binary("y", horizon=f"{horizon_days}d")
    project = compile_project(Project("p", [Deployment("d", "u", [Number("x")], label=label)]))
    spill = Spill()
    windows = Windows(project.deployments[0], keep=spill.keep)
    step_s, held, spilled, labelled = DAY * DAYS / decisions, 0, 0, 0
    age, begun = round(0.98 * horizon_days * DAY / step_s), time.process_time()
    for n in range(decisions + age):
        at_s = n * step_s
        if n < decisions:
            answer = Served(Score(1, "m", (n % 997) / 997))
            windows.add_decision(DecisionMade(f"r{n}", "d", f"u{n}", at_s, answer, 0), n % 4, n // 4)
        known = n - age
        if 0 <= known < decisions:
            windows.add_outcome(KnownOutcome(f"u{known}", float(known % 3 == 0), at_s))
        if n % 20_000 == 0:
            held = max(held, windows.held_bytes + (windows.labels.held_bytes if windows.labels else 0))
            spilled = max(spilled, spill.held_bytes)
            labelled += _closed(windows, at_s)
    labelled += _closed(windows, 1e9)
    return {
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "held_mib": held / 2**20,
        "spilled_mib": spilled / 2**20,
        "labelled": labelled,
        "dropped": windows.labels.dropped if windows.labels else 0,
        "cpu_s": time.process_time() - begun,
    }


def _closed(windows, clock_s: float) -> int:
    labelled = 0
    while windows.may_close_by(clock_s) and (closing := windows.closable(clock_s)) is not None:
        rows = windows.rows_of(*closing)
        labelled += int((rows.labels == rows.labels).sum())
        windows.drop(*closing)
    return labelled


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    asked = parser.parse_args()
    print(json.dumps(fed(asked.horizon, asked.decisions)))
