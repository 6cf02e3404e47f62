"""`headrace drill` tries every fault under load, and every request is answered in time or refused with a reason."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(400)]

# Requests that fell back, or were served without shadows because of the load: each act must have had an effect.
ACTS = {"raises": "previous", "nan": "previous", "hangs": "previous", "features": "baseline", "control": "served"}


def test_in_every_act_requests_are_answered_in_time_and_the_champion_comes_back_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace_cli", "drill", "--json", "--seconds", "3"]
    folder = tmp_path / "drill"
    ran = subprocess.run(
        [*command, "--folder", str(folder)],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    outcomes = {found["act"]: found for found in json.loads(ran.stdout or "[]")}
    assert set(outcomes) == {*ACTS, "load"}, ran.stderr
    assert {name: found["faults"] for name, found in outcomes.items() if found["faults"]} == {}
    assert ran.returncode == 0
    for name, step in ACTS.items():
        assert outcomes[name]["answers"][step] > 0
    for name in ("raises", "nan", "hangs"):
        assert "BreakerOpen" in outcomes[name]["alerts"]
    assert "Overload" in outcomes["load"]["alerts"]
    assert all(found["recovered_s"] is not None for found in outcomes.values())
