"""The output of commands without a broker: written projects, differences, settings with their origin."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.ops import HealthReported
from headrace.hosting.settings import Settings, origins
from headrace.models.engine import load as load_engine
from headrace.project.compile import compile_project
from headrace.project.load import load_project
from headrace_cli.drill import models
from headrace_cli.evidence.status import service_row
from headrace_cli.installation.children import Child
from headrace_cli.main import app, run
from headrace_cli.projects.apply import differences
from headrace_cli.scaffold import write_project

CLOSED = ["sh", "-c", 'exec "$0" "$@" <&- >&-', sys.executable]


def test_the_lock_of_a_folder_is_no_input_or_output_though_those_were_closed(tmp_path: Path) -> None:
    line = (
        "import pathlib, sys; from headrace_cli.installation.folder import locked; sys.exit(locked(pathlib.Path('.')))"
    )
    assert subprocess.run([*CLOSED, "-c", line], cwd=tmp_path, check=False, timeout=60).returncode >= 3


def test_a_command_whose_input_and_output_are_closed_does_its_work(tmp_path: Path) -> None:
    done = subprocess.run(
        [*CLOSED, "-m", "headrace_cli", "new", "mine"], cwd=tmp_path, check=False, timeout=60, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "mine" in {path.name for path in tmp_path.iterdir()}


def test_a_new_project_can_be_loaded_and_compiled_as_it_is_written(tmp_path: Path) -> None:
    path = write_project("my-model", tmp_path)
    project, reference = load_project(str(path))
    assert [deployment.name for deployment in compile_project(project).deployments] == ["my-model"]
    assert reference == f"{tmp_path}!my_model.project:project"


@pytest.mark.parametrize("name", ["My Model", "1st", "class", "../x"])
def test_a_name_that_python_cannot_import_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="a project's name is lower-case"):
        write_project(name, tmp_path)


def test_a_taken_folder_is_not_overwritten(tmp_path: Path) -> None:
    write_project("mine", tmp_path)
    with pytest.raises(Misconfigured, match="exists already"):
        write_project("mine", tmp_path)


def test_an_unknown_project_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="installed ones \\(flights, tumour\\)"):
        load_project("fligths")


def test_differences_name_what_is_added_removed_and_altered() -> None:
    project = compile_project(load_project("flights")[0])
    assert "+ deployment flight-delay" in differences(None, project)
    assert differences(project, project) == []
    altered = msgspec.structs.replace(
        project, raw=project.raw[:1], deployments=(msgspec.structs.replace(project.deployments[0], coverage=0.5),)
    )
    assert differences(project, altered) == ["- raw stream weather", "~ deployment flight-delay: coverage"]


def test_a_changed_label_is_shown_with_its_consequence() -> None:
    """A probability was served as a number of the new label, without a notice."""
    project = compile_project(load_project("flights")[0])
    (late,) = project.deployments
    assert late.label is not None
    number = msgspec.structs.replace(late.label, kind="number", classes=(), low=0.0, high=60.0)
    (line,) = differences(
        project, msgspec.structs.replace(project, deployments=(msgspec.structs.replace(late, label=number),))
    )
    assert line.startswith("~ deployment flight-delay: label (versions for the former label are skipped;")


def test_settings_come_from_defaults_then_the_file_then_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text('namespace = "file"\nhttp_port = 9000\n')
    found = origins({"HEADRACE_HTTP_PORT": "9100", "KAFKA_BOOTSTRAP_SERVERS": "b:1"}, file)
    assert found["namespace"] == ("file", str(file))
    assert found["http_port"] == (9100, "HEADRACE_HTTP_PORT")
    assert found["bootstrap_servers"] == ("b:1", "KAFKA_BOOTSTRAP_SERVERS")
    assert found["log_level"] == ("INFO", "default")


def test_a_wrong_setting_is_named_with_where_it_was_set(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"HEADRACE_HTTP_PORT: http_port Expected `int`, got `str`.*'nine'"):
        Settings.load({"HEADRACE_HTTP_PORT": "nine"}, tmp_path / "none")
    (tmp_path / "headrace.toml").write_text("htp_port = 1\n")
    with pytest.raises(Misconfigured, match="no setting is called 'htp_port'"):
        Settings.load({}, tmp_path / "headrace.toml")


def test_config_show_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SASL_PASSWORD", "hunter2")
    shown = CliRunner().invoke(app, ["config", "show", "--json"])
    rows = {row["setting"]: row["value"] for row in json.loads(shown.stdout)}
    assert rows["sasl_password"] == "***"


def test_a_child_that_dies_is_restarted_after_a_growing_pause_and_at_once_when_it_asked(tmp_path: Path) -> None:
    child = Child("x", ["sh", "-c", "exit 3"], tmp_path / "log", {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    assert child.process is not None
    child.process.wait()
    child.tend(1.0)
    assert (child.last_code, child.pause_s) == (3, 0.5)
    assert not child.tend(1.2)
    assert child.tend(1.6)
    assert child.restarts == 1
    child.process.wait()
    child.log.write_text(
        '{"logger": "headrace.runtime", "message": "features.online.v1 was deleted and created again"}'
    )
    child._note_end(75, 2.0)
    assert child.pause_s == 0.0
    assert child.reason == "restarted itself; last log line: features.online.v1 was deleted and created again"


def test_status_shows_breakers_that_are_not_closed_and_load_that_is_shed() -> None:
    report = HealthReported(
        "inference", "i-1", True, breakers={"delay/3": "open: predict returned NaN"}, overload={"delay": 3}
    )
    line = service_row(report, {})["reason"]
    assert line == "breaker of delay/3 open: predict returned NaN; delay sheds load: requests are refused"


def test_status_shows_which_versions_are_queued_for_loading() -> None:
    report = HealthReported("inference", "i-1", True, in_line=("delay/4", "price/2"))
    assert service_row(report, {})["reason"] == "queued for loading: delay/4, price/2"


def test_an_unknown_act_of_the_drill_is_refused_with_the_known_ones() -> None:
    ran = CliRunner().invoke(app, ["drill", "--only", "earthquake"])
    assert isinstance(ran.exception, Misconfigured)
    assert "raises, nan, hangs, features, control, load" in str(ran.exception)


@pytest.mark.filterwarnings("ignore:(overflow|invalid)")
def test_the_drills_champion_suffers_from_what_its_acts_ask_for() -> None:
    champion = load_engine(models.fragile(), "skops")
    rows = np.array([[1, 0, 0.5, 1, 1, 5], [1, 1, 0.5, 1, 1, 5]], np.float32)
    assert np.isnan(champion.predict(rows, "binary")).any(axis=1).tolist() == [False, True]
    with pytest.raises(ValueError, match="unknown categories"):
        champion.predict(np.array([[99, 0, 0.5, 1, 1, 5]], np.float32), "binary")


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_API_KEYS", "shop=s3cret")
    monkeypatch.setenv("HEADRACE_SASL_PASSWORD", "s3cret")
    shown = CliRunner().invoke(app, ["config", "show", "--json"]).output
    assert "s3cret" not in shown
    assert "HEADRACE_API_KEYS" in shown


def test_an_interrupt_while_the_command_is_still_being_read_in_ends_it_without_a_trace() -> None:
    command = [sys.executable, "-m", "headrace_cli", "config", "show"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    maps, deadline_s = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
    while "msgspec" not in maps.read_text():  # the first of many that are imported
        assert time.monotonic() < deadline_s
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "shell", "code", "sentence"),
    [
        ("config show", ">&-", 0, ""),
        ("config show", "> /dev/full", 1, "the output could not be written completely: No space left on device"),
        ("config show --json", "> /dev/full", 1, "the output could not be written completely: No space left on device"),
        ("--help", "> /dev/full", 1, "the output could not be written completely: No space left on device"),
        ("config show", "2>&- > /dev/null", 0, ""),
        ("config show", ">&- 2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence_without_a_traceback(
    words: str, shell: str, code: int, sentence: str, tmp_path: Path
) -> None:
    line = f"{sys.executable} -m headrace_cli {words} {shell}"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    ran = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (code, "", 1 if sentence else 0), ran.stderr
    assert sentence in ran.stderr
    assert list(tmp_path.iterdir()) == []  # no bug was written down


@pytest.mark.parametrize("text", ["[1", '{"a": 1}', "[]", '{"deployment": 3}'])
def test_files_that_are_no_manifest_or_no_categories_are_refused_in_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "some.json").write_text(text)
    assert run(["dataset", "build", "d", "--like", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"headrace: cannot read the manifest {file}: ")
    assert run(["model", "register", "m.skops", "--deployment", "d", "--categories", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"headrace: cannot read the categories {file}: ")
