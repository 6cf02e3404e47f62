"""No process that we start imports modules from its current folder."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Misconfigured
from headrace.events.training import RetrainAccepted, TrainingProgressed
from headrace.hosting.health import Health
from headrace.hosting.runs import end_runs
from headrace.hosting.settings import Settings
from headrace.project.load import load_project
from headrace_broker import free_port
from headrace_cli.installation.hung import is_answering
from headrace_cli.installation.services import SERVICES
from headrace_cli.installation.supervisor import Supervisor
from headrace_cli.projects.apply import with_folder
from headrace_inference.adapters.load_checks import start_child
from headrace_trainer.adapters.workers import Workers

ROOT = Path(__file__).parents[2]
# Modules that all our processes import at some time, from the standard library and from installed packages.
NAMES = ("http", "queue", "random", "struct", "select", "logging", "psutil", "msgspec", "numpy", "aiokafka")


@pytest.fixture
def shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Change to a folder full of files that are named like modules. Returns which of them were imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text("open(__file__ + '.imported', 'w').close()\nraise SystemExit('a shadow')\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return lambda: sorted(path.name for path in folder.rglob("*.imported"))


async def until(holds: Callable[[], Any], within_s: float = 60.0) -> None:
    give_up_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.05)


def test_every_python_that_we_start_is_kept_from_looking_where_it_stands() -> None:
    sources = [*(ROOT / "libs").glob("*/src/**/*.py"), *(ROOT / "services").glob("*/src/**/*.py")]
    started = [
        (path.name, follows)
        for path in sources
        for follows in re.findall(r"sys\.executable,\s*([^,\s]+)", path.read_text())
    ]
    assert len(started) >= 5
    assert [where for where in started if where[1] != '"-P"'] == []


async def test_the_process_that_checks_versions_does_not_import_what_lies_where_inference_was_started(
    shadows: Callable[[], list[str]],
) -> None:
    child = await start_child()
    assert child.stdin is not None
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 60) == 0
    assert shadows() == []


async def test_a_training_run_does_not_import_what_lies_where_the_trainer_was_started(
    shadows: Callable[[], list[str]], tmp_path: Path
) -> None:
    settings = Settings("127.0.0.1:1", runs_folder=str(tmp_path / "runs"), namespace="n", connect_timeout_s=0.1)
    workers = Workers(settings, Health("trainer", "t"))
    await workers.tend([RetrainAccepted("d", "run", "q", "manual", "", 0.0)])
    try:
        # NB: a process that waits for the broker has imported all that it needs for that.
        await until(lambda: shadows() or any(isinstance(e, TrainingProgressed) for e in workers.read("run", 0)[0]))
    finally:
        end_runs(tmp_path / "runs")
        for process in workers._begun.values():
            await asyncio.to_thread(process.wait, 20)
    assert shadows() == []


@pytest.mark.faults
async def test_services_do_not_import_what_lies_where_up_was_run(
    shadows: Callable[[], list[str]], tmp_path: Path
) -> None:
    supervisor = Supervisor(tmp_path, 1, fresh=False, settings=Settings(), anywhere=True)
    (tmp_path / "logs").mkdir()
    ports = {name: free_port() for name in SERVICES}
    supervisor._start_services("127.0.0.1:1", ports)
    try:
        live: set[str] = set()
        give_up_s = time.monotonic() + 90
        while len(live) < len(SERVICES) and not shadows():
            assert time.monotonic() < give_up_s
            live |= {name for name, port in ports.items() if await is_answering(port)}
        assert shadows() == []
    finally:
        for child in supervisor.children.values():
            child.kill()


def test_the_command_itself_does_not_either(shadows: Callable[[], list[str]]) -> None:
    command = [sys.executable, "-m", "headrace_cli", "config", "show"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, shadows()) == (0, []), ran.stderr


PROJECT = "from headrace.project import Project\nproject = Project('here', [])\n"


def test_a_module_of_this_folder_is_applied_with_its_folder_so_that_everybody_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_by_folder").mkdir()
    (tmp_path / "found_by_folder" / "project.py").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    reference = with_folder("found_by_folder.project:project")
    assert reference == f"{tmp_path}!found_by_folder.project:project"
    assert load_project(reference)[1] == reference


def test_what_is_installed_is_applied_as_it_was_given_whatever_lies_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "headrace").mkdir()
    monkeypatch.chdir(tmp_path)
    for given in ("headrace.project:project", "flights", "nowhere:project", f"{os.sep}a!b:project"):
        assert with_folder(given) == given
    with pytest.raises(Misconfigured, match="cannot import 'nowhere'"):
        load_project(with_folder("nowhere:project"))
