"""What the guide on labels shows is what happens: its blocks are run in their order, with a monitor beside the other services."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "labels-and-monitoring.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who does what the guide says, in an empty folder."""

    def __init__(self, stack: Any, folder: Path) -> None:
        self.folder, self._port = folder, stack.port
        self._environ = stack.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, language: str, block: str) -> str:
        there = re.compile(r"(localhost|127\.0\.0\.1):8080")
        text = there.sub(f"127.0.0.1:{self._port}", block)
        command = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-W", "error", "-c", text]
        ran = subprocess.run(
            command, env=self._environ, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def until(self, block: str, is_there: Callable[[str], bool], within_s: float = 300) -> str:
        give_up_s = time.monotonic() + within_s
        while not is_there(found := self.run("bash", block)):
            assert time.monotonic() < give_up_s, found
            time.sleep(0.5)
        return found


def test_the_guide_leads_from_a_model_that_answers_to_windows_with_figures(stack: Any, tmp_path: Path) -> None:
    reader, monitor = Reader(stack, tmp_path), None
    (_, project), *blocks = BLOCKS
    (tmp_path / "delays.py").write_text(project)
    said = []
    try:
        for language, block in blocks:
            if "monitor.windows" in block:
                monitor = subprocess.Popen([sys.executable, "-m", "headrace_monitor"], env=stack.environ)
                said.append(reader.until(block, lambda found: found.count("labelled") >= 2))
            elif "/predict" in block:
                said.append(reader.until(block, lambda found: "error" not in json.loads(found)))
            else:
                said.append(reader.run(language, block))
    finally:
        if monitor is not None:
            monitor.terminate()
            monitor.wait(30)
    texts = "\n".join(said)
    assert "2 rows: 2 sent, 0 were there already, 0 bad" in texts
    listed = next(found for found in said if "became" in found)
    assert [word in listed for word in ("second", "used", "of no request")] == [False, True, True]
    windows = said[-1]
    assert "UNMEASURED" not in windows
