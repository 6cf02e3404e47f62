"""The guide on replays, followed literally on a whole installation: a first version, a drift, a version after it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.test_first_hour import Shell

from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1500)]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "replay.md"
FILES = dict(re.findall(r"^```python (\S+)\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_guide_finds_the_drift_and_ends_with_a_better_version(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for name, program in FILES.items():
        (tmp_path / name).write_text(program)
    try:
        words = [sys.executable, "-m", "headrace_cli", "up", "--port", str(free_port())]
        subprocess.run(words, cwd=tmp_path, env=shell.environ, check=True, timeout=600)
        make, apply, replay = COMMANDS[0].splitlines()
        subprocess.run([sys.executable, *make.split()[1:]], cwd=tmp_path, check=True, timeout=60)
        assert shell.run(*apply.split()[1:]).returncode == 0
        command = [sys.executable, "-m", "headrace_cli", *replay.split()[1:], "--json"]
        ran = subprocess.run(
            command, cwd=tmp_path, env=shell.environ, capture_output=True, text=True, timeout=1200, check=False
        )
        print(ran.stderr[-6000:])
        assert ran.returncode == 0
    finally:
        shell.run("down")
    report = json.loads(ran.stdout)
    print(json.dumps(report, indent=2))
    assert [report[name] for name in ("requests", "decisions", "lost", "duplicated")] == [34560, 34560, 0, 0]
    first, *later = report["switches"]
    assert (first["version"], first["was"], first["at"][:7]) == (1, None, "2021-06")
    assert first["at"] < "2021-06-08"
    assert later
    assert all("2021-06-15" < switch["at"] < "2021-06-25" for switch in later)
    # NB: a switch is reported by traffic. The last one follows the change.
    assert report["intervals"][-1]["loss"] < 0.6 * report["intervals"][-1]["prior_loss"]
    assert "rides-replay.svg" in report["plot"]
