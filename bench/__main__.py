"""`make bench`: every area, or ONLY=agreement, console, estimates, evidence, features, inputs, memory, monitor, serving, rollouts, shadows or streams; writes build/bench/report.json and report.md."""

import argparse
import sys

import msgspec

from bench import (
    agreement,
    console,
    estimates,
    evidence,
    features,
    inputs,
    monitor,
    monitor_memory,
    retraining,
    rollouts,
    serving,
    shadows,
)
from bench.measure import BUILD, Row

AREAS = {
    "agreement": agreement.run,
    "console": console.run,
    "estimates": estimates.run,
    "evidence": evidence.run,
    "features": features.run,
    "inputs": inputs.run,
    "memory": monitor_memory.run,
    "monitor": monitor.run,
    "rollouts": rollouts.run,
    "serving": serving.run,
    "shadows": shadows.run,
    "streams": retraining.run,
}


def main() -> int:
    """Run the areas, print and write the report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(AREAS), help="one area")
    wanted = parser.parse_args().only
    report = BUILD / "report.json"
    rows = [row for name, run in AREAS.items() if wanted in (None, name) for row in run()]
    kept = [row for row in _before(report) if wanted is not None and row.name.split(".")[0] != wanted]
    rows = kept + rows
    BUILD.mkdir(parents=True, exist_ok=True)
    report.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
    table = markdown(rows)
    (BUILD / "report.md").write_text(table)
    print(table)
    return 0


def _before(report) -> list[Row]:
    return msgspec.json.decode(report.read_bytes(), type=list[Row]) if report.exists() else []


def markdown(rows: list[Row]) -> str:
    """The report as a table."""
    lines = [
        "| what | ours | unit | peer | its value | ratio | demanded | met | runs | spread | foreign load |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.name, f"{row.ours:.4g}", row.unit, row.peer or "-", _number(row.peer_value), _number(row.ratio)]
        cells += [row.demanded, "yes" if row.met else "NO", str(row.runs), f"{row.spread:.0%}"]
        lines.append("| " + " | ".join([*cells, f"{row.foreign_load_share:.0%}"]) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
