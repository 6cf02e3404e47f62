"""On a busy machine the demo is late and has the same result."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(7200)]

BUSY_LOOPS = 6
WITHIN_S = 3400


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run so many processes that use a core each, at the usual priority."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def demo(folder: Path, *words: str) -> dict[str, Any]:
    """Run an act of the demo to its end. Returns its report."""
    command = [sys.executable, "-m", "headrace_cli", "demo", "--json", "--folder", str(folder), *words]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return json.loads(ran.stdout[ran.stdout.index("\n{") :])


def test_both_acts_of_the_demo_end_with_nothing_lost_and_every_run_once(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with busy_loops(BUSY_LOOPS):
        drift = demo(folder)
        rollout = demo(folder, "--act", "rollout")
    for report in (drift, rollout):
        assert (report["lost"], report["duplicated"]) == (0, 0)
    assert {found["finished"] for found in drift["retrains"]} == {1}
    assert len(drift["versions"]) >= 2
    assert rollout["as_expected"]
