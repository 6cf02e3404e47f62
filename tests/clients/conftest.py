"""A registered model behind a real gateway, and environments of their own for clients that know nothing of Headrace."""

import asyncio
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace_broker import free_port
from headrace_cli.main import app

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SERVICES = ("registry", "inference", "gateway")


@dataclass(frozen=True)
class Stack:
    """The address of the gateway, and the environment with which commands find the installation."""

    port: int
    environ: dict[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headrace(self, *words: str) -> str:
        """The output of a command. It runs in this process, because its imports take longer than its work."""
        ran = CliRunner().invoke(app, list(words), env=self.environ)
        assert ran.exit_code == 0, f"{ran.output}{ran.exception}"
        return ran.output


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one client in it."""

    folder: Path

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """Run one of its programs, which must succeed. Returns its output."""
        ran = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture(scope="session")
def stack(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Registry, inference and gateway as processes, with a version of each deployment that takes traffic."""
    folder, namespace, port = tmp_path_factory.mktemp("clients"), f"c{secrets.token_hex(4)}", free_port()
    given = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environ = given | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HEADRACE_NAMESPACE": namespace,
        "HEADRACE_HOME": str(folder / "home"),
        "HEADRACE_GATEWAY_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    asyncio.run(_make_topics(Settings(bootstrap_servers=kafka, namespace=namespace)))
    found = Stack(port, environ, folder)
    processes = [subprocess.Popen([sys.executable, "-m", f"headrace_{name}"], env=environ) for name in SERVICES]
    try:
        _register_models(found)
        yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


async def _make_topics(settings: Settings) -> None:
    log = KafkaLog(settings)
    await log.start()
    await ensure_topics(log, topics_of(settings).specs())
    await log.stop()


def _register_models(stack: Stack) -> None:
    # NB: it has the name of a module, and other tests may import their own `models`.
    sys.path.insert(0, str(HERE))
    try:
        from models import write_models  # ty: ignore[unresolved-import]  beside this file, not a package
    finally:
        sys.path.remove(str(HERE))
    options = write_models(stack.folder)
    stack.headrace("apply", str(HERE / "clients_project"))
    for name, more in options.items():
        stack.headrace("model", "register", str(stack.folder / f"{name}.skops"), "--deployment", name, *more)
    for name in options:
        _until_ready(f"{stack.url}/v2/models/{name}/versions/1/ready")


def _until_ready(url: str, within_s: float = 60) -> None:
    give_up_s = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < give_up_s, url
            time.sleep(0.1)


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Environment]:
    """Make the environment of a client by its name."""
    return _environment


def _environment(name: str) -> Environment:
    """The environment of a client, made once per set of pins. Skips with a reason where it cannot be made."""
    pins = HERE / "requirements" / f"{name}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    mark = hashlib.sha256(pins.read_bytes() + version.encode()).hexdigest()[:12]
    folder = ROOT / "build" / "clients" / f"{name}-{mark}"
    if not (folder / "made.json").exists():
        _make(folder, pins, name)
    return Environment(folder)


def _make(folder: Path, pins: Path, name: str) -> None:
    uv, began_s = str(Path(sys.executable).parent / "uv"), time.monotonic()
    environ = os.environ | {"VIRTUAL_ENV": str(folder)}
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "-r", str(pins)],
    ):
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
        if ran.returncode != 0:
            reason = ran.stderr.strip().splitlines()
            print(f"{name} cannot be installed here: {ran.stderr}")
            pytest.skip(f"{name} cannot be installed here: {reason[-1] if reason else 'no reason given'}")
    (folder / "made.json").write_text(json.dumps({"seconds": round(time.monotonic() - began_s, 1)}))
