"""Every service has the same rooms: read one, know all."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())
ROOMS = ("__init__.py", "__main__.py", "app.py", "settings.py", "shell.py", "core/__init__.py")
HEADINGS = ("## Decides", "## Reads", "## Writes", "## Keeps", "## Settings", "## Alarms")


def package(service: str) -> Path:
    return ROOT / "services" / service / "src" / f"headrace_{service}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_every_room(service: str) -> None:
    missing = [room for room in ROOMS if not (package(service) / room).exists()]
    assert not missing
    assert list((ROOT / "services" / service / "tests").glob("test_*.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_in_one_sentence_what_it_decides(service: str) -> None:
    sentence = ast.get_docstring(ast.parse((package(service) / "__init__.py").read_text())) or ""
    assert sentence.startswith("Decides")
    assert sentence.count(".") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_tells_what_it_reads_writes_and_keeps(service: str) -> None:
    text = (ROOT / "services" / service / "README.md").read_text().lower()
    assert [heading for heading in HEADINGS if heading.lower() not in text] == []


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    source = "".join(path.read_text() for path in package("monitor").rglob("*.py"))
    source += (ROOT / "libs" / "cli" / "src" / "headrace_cli" / "installation" / "alerts.py").read_text()
    alerts = set(re.findall(r'Alarm\(\s*"([A-Z]\w+)"', source)) | set(re.findall(r'\("([A-Z]\w+)", "headrace', source))
    alerts |= set(re.findall(r'"(Rollout\w+)"', (package("monitor") / "core" / "rollout_alarms.py").read_text()))
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert alerts == runbooks
    assert len(alerts) >= 6
