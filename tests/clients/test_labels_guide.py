"""The blocks of the guide on labels are run in their order on a real broker, and do what the guide shows."""

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "labels-and-monitoring.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


SERVICES = ("inference", "gateway", "monitor")


class Reader:
    """A reader who follows the guide in an empty folder, beside an installation without any model."""

    def __init__(self, environ: dict[str, str], port: int, folder: Path) -> None:
        self.folder, self._port = folder, port
        self._environ = environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

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
        while True:
            try:
                found = self.run("bash", block)
            except AssertionError as error:  # curl: the port does not listen yet
                found = str(error)
            if is_there(found):
                return found
            assert time.monotonic() < give_up_s, found
            time.sleep(0.5)


@pytest.fixture
def reader(kafka: str, tmp_path: Path) -> Iterator[Reader]:
    namespace, port = f"g{secrets.token_hex(4)}", free_port()
    given = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environ = given | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HEADRACE_NAMESPACE": namespace,
        "HEADRACE_HOME": str(tmp_path / "home"),
        "HEADRACE_GATEWAY_PORT": str(port),
    }
    asyncio.run(_make_topics(Settings(bootstrap_servers=kafka, namespace=namespace)))
    processes = [subprocess.Popen([sys.executable, "-m", f"headrace_{name}"], env=environ) for name in SERVICES]
    try:
        yield Reader(environ, port, tmp_path)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


async def _make_topics(settings: Settings) -> None:
    log = KafkaLog(settings)
    await log.start()
    await ensure_topics(log, topics_of(settings).specs())
    await log.stop()


def _is_answered(output: str) -> bool:
    return output.startswith("{") and "error" not in json.loads(output)


def test_the_guide_leads_from_a_model_that_answers_to_windows_with_figures(reader: Reader) -> None:
    (_, project), *blocks = BLOCKS
    (reader.folder / "delays.py").write_text(project)
    outputs = []
    for language, block in blocks:
        if "monitor.windows" in block:
            outputs.append(reader.until(block, lambda found: found.count("labelled") >= 2))
        elif "/predict" in block:
            outputs.append(reader.until(block, _is_answered))
        else:
            outputs.append(reader.run(language, block))
    assert "2 rows: 2 sent, 0 were there already, 0 bad" in "\n".join(outputs)
    listed = next(found for found in outputs if "became" in found)
    assert [word in listed for word in ("second", "used", "of no request")] == [False, True, True]
    assert "UNMEASURED" not in outputs[-1]
