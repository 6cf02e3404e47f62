"""Every service has the same rooms, every module and function a size that a person can hold in mind."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from headrace.hosting.alerts import INPUTS_BROKEN, OF_FINDINGS, OF_ROLLOUTS, WATCHDOG

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())
ROOMS = ("__init__.py", "__main__.py", "app.py", "settings.py", "shell.py", "core/__init__.py")
HEADINGS = ("## Decides", "## Reads", "## Writes", "## Keeps", "## Settings", "## Alarms")


# What may stand at the top of a package beside its rooms, and why.
ALSO = {
    "pipeline": {"testing.py"},  # the kit with which users test their transforms: it is imported by them
    "console": {"page"},  # the bundle, built by make setup from services/console/page
}
MOST_SHELL_LINES, MOST_LINES, MOST_TEST_LINES, MOST_FUNCTION_LINES = 199, 400, 500, 40
# A longer function has a comment that begins like this and gives the reason.
LONG = "# long:"
TRACKED = subprocess.run(
    ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
MODULES = [name for name in TRACKED if (ROOT / name).exists()]


def is_test(name: str) -> bool:
    return "tests" in Path(name).parts[:-1]


def package(service: str) -> Path:
    return ROOT / "services" / service / "src" / f"headrace_{service}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_every_room(service: str) -> None:
    missing = [room for room in ROOMS if not (package(service) / room).exists()]
    assert not missing
    assert list((ROOT / "services" / service / "tests").glob("test_*.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_nothing_outside_of_its_rooms(service: str) -> None:
    known = {room for room in ROOMS if "/" not in room} | {"core", "adapters", "__pycache__"} | ALSO.get(service, set())
    assert {path.name for path in package(service).iterdir()} - known == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_shell_only_gathers_decides_and_acts(service: str) -> None:
    assert len((package(service) / "shell.py").read_text().splitlines()) <= MOST_SHELL_LINES


@pytest.mark.parametrize("service", SERVICES)
def test_what_steps_a_machine_returns_a_step(service: str) -> None:
    """A function of a core that is named `on_<message>` returns a `Step`. A method of that name, whose object keeps the state, may return
    the facts alone, or nothing.
    """
    others = []
    trees = {path: ast.parse(path.read_text()) for path in (package(service) / "core").rglob("*.py")}
    steps = {"Step"}.union(*(aliases(tree, "Step") for tree in trees.values()))
    facts = {"list"}.union(*(aliases(tree, name) for tree in trees.values() for name in ("tuple", "Sequence")))
    for path, tree in trees.items():
        methods = {item for node in tree.body if isinstance(node, ast.ClassDef) for item in node.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("on_"):
                returned = ast.unparse(node.returns).strip("'\"") if node.returns else "no declared type"
                allowed = steps | facts | {"None"} if node in methods else steps
                if {part.partition("[")[0].strip() for part in returned.split(" | ")} - allowed:
                    others.append(f"{path.name}: {node.name} -> {returned}")
    assert others == []


def aliases(tree: ast.Module, name: str) -> set[str]:
    """The names that a module gives to a type, itself included: `RolloutStep = Step[...]`."""
    named = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).partition("[")[0] == name
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {name} | named


def test_no_module_is_longer_than_a_person_can_hold_in_mind() -> None:
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in MODULES}
    assert {n: found for n, found in lengths.items() if found > (MOST_TEST_LINES if is_test(n) else MOST_LINES)} == {}


def test_no_function_is_long_without_a_reason_beside_it() -> None:
    found = {
        f"{name}:{function.name}": length
        for name in MODULES
        if not is_test(name)
        for function, length in long_functions((ROOT / name).read_text())
    }
    assert found == {}


def long_functions(source: str) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Functions of more than 40 lines without their docstring that have no comment `# long: ...` on the line of their name or above it."""
    lines, found = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            beside = lines[first - 2 : node.body[0].lineno - 1] if first > 1 else lines[: node.body[0].lineno - 1]
            docstring = ast.get_docstring(node, clean=False)
            length = (
                (node.end_lineno or node.lineno) - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
            )
            if length > MOST_FUNCTION_LINES and not any(LONG in line for line in beside):
                found.append((node, length))
    return found


def test_a_long_function_is_found_unless_a_comment_explains_why_it_is_long() -> None:
    body = "\n".join(f"    x = {n}" for n in range(50))
    (found,) = long_functions(f'def f():\n    """Text.\n\n    Much."""\n{body}')
    assert (found[0].name, found[1]) == ("f", 51)
    assert long_functions(f"def f():  # long: a table\n{body}") == []
    assert long_functions(f"# long: a table\ndef f():\n{body}") == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_docstring_of_a_service_states_in_one_sentence_what_it_decides(service: str) -> None:
    sentence = ast.get_docstring(ast.parse((package(service) / "__init__.py").read_text())) or ""
    assert sentence.startswith("Decides")
    assert sentence.count(".") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_of_a_service_lists_what_it_reads_writes_and_keeps(service: str) -> None:
    text = (ROOT / "services" / service / "README.md").read_text().lower()
    assert [heading for heading in HEADINGS if heading.lower() not in text] == []


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    source = "".join(path.read_text() for path in package("monitor").rglob("*.py"))
    source += (ROOT / "libs" / "cli" / "src" / "headrace_cli" / "installation" / "alerts.py").read_text()
    alerts = set(re.findall(r'Alarm\(\s*"([A-Z]\w+)"', source)) | set(re.findall(r'\("([A-Z]\w+)", "headrace', source))
    alerts |= {*OF_FINDINGS.values(), INPUTS_BROKEN, *OF_ROLLOUTS, WATCHDOG}
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert alerts == runbooks
    assert len(alerts) >= 6
