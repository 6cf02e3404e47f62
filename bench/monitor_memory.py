"""What late labels cost the monitor in memory and on disk: the same decisions with a horizon of a day, and of 30 days.

Each horizon is a process of its own, both at a time. The whole monitor but its Kafka client takes decisions with rows of four features beside a
version's reference, and outcomes; it closes the windows, reads samples of them again and judges them. Each label comes after .98 of the
horizon, so that no window closes much earlier. What is measured is the peak of the resident memory, and beside it what rows and labels
take by the core's own count, in memory and in the file of rows that wait.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.fed_monitor import COLUMNS, DAYS
from bench.measure import ROOT, ForeignLoad, Row, below, progress

DECISIONS, HORIZONS = 10_000_000, (1, 30)
# A decision that waits takes 48 bytes, and so does an outcome.
MOST_TIMES, MOST_BYTES = 1.5, 96
REPORT = ROOT / "docs" / "reports" / "monitor-memory.md"

Figures = Mapping[str, float]


def run() -> list[Row]:
    """The rows of the report."""
    progress(f"monitor: {DECISIONS:,} decisions, horizons of {' and '.join(map(str, HORIZONS))} d")
    with ForeignLoad() as load, ThreadPoolExecutor(len(HORIZONS)) as pool:
        found = dict(zip(HORIZONS, pool.map(_measured, HORIZONS), strict=True))
    short, long = (found[days] for days in HORIZONS)
    times = long["peak_mib"] / short["peak_mib"]
    most = f"at most {MOST_TIMES} times of a horizon of a day, {short['peak_mib']:.0f} MiB"
    per_decision = long["spilled_mib"] * 2**20 / (DECISIONS * HORIZONS[1] / DAYS)
    lost = DECISIONS - long["labelled"]
    rows = [
        below("memory.monitor at a horizon of 30 d", "times", [times], most, MOST_TIMES, load.share),
        below(
            "memory.disk per waiting decision", "bytes", [per_decision], f"at most {MOST_BYTES}", MOST_BYTES, load.share
        ),
        below("memory.labels lost", "labels", [lost], f"none of {DECISIONS:,}", 1, load.share),
    ]
    REPORT.write_text(report(found, rows))
    return rows


_HEAD = f"""# The monitor's memory while labels are late

Made by `make bench ONLY=memory`; do not edit by hand. {DECISIONS:,} decisions over {DAYS} days of event time, with rows of {COLUMNS}
features, go through the whole monitor but its Kafka client, each with its label after .98 of the horizon. Windows of a day are closed
and judged, with samples read again. `peak`: resident memory of the process. `grown`: since it was ready for its first record.

| horizon | peak, MiB | grown, MiB | rows and labels in memory, MiB | in the file, MiB | windows closed | labels joined | CPU us per record |
|---|---|---|---|---|---|---|---|
"""


def report(found: Mapping[int, Figures], rows: Sequence[Row]) -> str:
    """The page, in Markdown."""
    lines = [
        f"| {days} d | {one['peak_mib']:.0f} | {one['grown_mib']:.0f} | {one['held_mib']:.1f} | {one['spilled_mib']:.0f} | "
        f"{one['windows']:.0f} | {one['labelled']:,.0f} | {one['cpu_s'] / (2 * DECISIONS) * 1e6:.1f} |\n"
        for days, one in found.items()
    ]
    demands = [
        f"- {row.name.removeprefix('memory.')}: {row.ours:.3g} {row.unit}; demanded: {row.demanded}"
        f"{'' if row.met else ' (MISSED)'}\n"
        for row in rows
    ]
    return "".join([_HEAD, *lines, "\n", *demands])


def _measured(horizon_days: int) -> Figures:
    # NB: nothing of the monitor is imported here: a process that is started has at first the memory of its parent.
    command = [sys.executable, "-m", "bench.fed_monitor", "--horizon", str(horizon_days), "--decisions", str(DECISIONS)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
