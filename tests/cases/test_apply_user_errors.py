"""An error in a user's module is shown with its file, line and message, and without our traceback."""

import json
import sys
from pathlib import Path

import pytest
from tests.cases.declared_projects import written

from headrace.errors import Misconfigured
from headrace_cli.main import run
from headrace_cli.projects.apply import check_project
from headrace_pipeline.adapters.threads import TransformThread

HEAD = "from headrace.project import *\n\n"
END = '\nproject = Project("p", [Deployment("d", unit="u", inputs=[Number("x")])])\n'

# the middle of the module; the line of the error, counted in it from 1; the expected message
ERRORS = [
    ("import lightgbmm", 1, "ModuleNotFoundError: No module named 'lightgbmm'; install it where Headrace runs"),
    ("from headrace.project import PageHinkly", 1,
     "ImportError: headrace.project has no 'PageHinkly': did you mean 'PageHinkley'?"),
    ('x = 1\ny = Numbr("x")', 2, "NameError: name 'Numbr' is not defined: did you mean 'Number'?"),
    ('Number("x", lo=1)', 1,
     "Number takes no 'lo': did you mean 'low'? It takes name, low, high, nullable"),
    ('Number("x", min=1)', 1, "Number takes no 'min': did you mean 'low'? It takes name, low, high, nullable"),
    ('Category("x", vocabulary=["a"])', 1, "Category takes no 'vocabulary'; it takes name, nullable"),
    ("Number(low=1)", 1, "Number needs name; it takes name, low, high, nullable"),
    ('Number("x", 1, 2, True, 5)', 1,
     "Number takes 4 arguments by position (name, low, high, nullable), got 5"),
    ('Number("x", name="y")', 1, "Number got 'name' twice, by position and by name"),
    ('Deployment(\n    "d",\n    inputs=[],\n)', 1, "Deployment needs unit; it takes name, unit, inputs, features"),
    ('Deployment(\n    "d", "u", [],\n    fallbacks=[previous],\n)', 1,
     "Deployment takes no 'fallbacks': did you mean 'fallback'? It takes name"),
    ('Multiclass("m", ["a", "b"], "1h", absent="negative")', 1,
     "Multiclass takes no 'absent'; it takes name, classes, horizon"),
    ('import headrace.project as hp\nhp.Regression("m", 0, hihg=1, horizon="1h")', 2,
     "Regression takes no 'hihg': did you mean 'high'? It takes name, low, high, horizon"),
    ("def limits(n):\n    return 1 / n\n\nlimits(0)", 2, "ZeroDivisionError: division by zero"),
    ("import json\njson.loads('no')", 2, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ("raise SystemExit(3)", 1, "SystemExit: 3"),
    ("x = [1, 2\ny = 3", 1, "SyntaxError: '[' was never closed: x = [1, 2"),
    ("if True:\nx = 1", 2, "IndentationError: expected an indented block after 'if' statement"),
    ("class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd", 4, "Odd: (its message cannot be read)"),
]  # fmt: skip


@pytest.mark.parametrize(("middle", "line", "message"), ERRORS, ids=[middle[:30] for middle, _, _ in ERRORS])
def test_what_a_users_module_raises_is_reported_with_his_file_and_line(
    tmp_path: Path, middle: str, line: int, message: str
) -> None:
    with written(tmp_path, f"{HEAD}{middle}\n{END}") as file, pytest.raises(Misconfigured) as refused:
        check_project(str(file))
    error = str(refused.value)
    assert error.startswith(f"{file}:{2 + line}: {message}"), error
    assert "\n" not in error


def test_an_error_in_a_module_beside_it_is_reported_with_that_ones_line(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("def columns():\n    return COLUMNS\n")
    text = f"{HEAD}import beside_it\n\nbeside_it.columns()\n{END}"
    with written(tmp_path, text) as file, pytest.raises(Misconfigured) as refused:
        check_project(str(file))
    sys.modules.pop("beside_it", None)
    assert str(refused.value).startswith(f"{tmp_path}/beside_it.py:2: NameError: name 'COLUMNS' is not defined")


@pytest.mark.parametrize("by_folder", [False, True])
def test_the_only_project_of_a_module_is_found_whatever_it_is_called(tmp_path: Path, by_folder: bool) -> None:
    with written(tmp_path, HEAD + END.replace("project =", "mine =")) as file:
        if by_folder:
            (tmp_path / "mine").mkdir()
            file = file.rename(tmp_path / "mine" / "project.py")
        found = check_project(str(file.parent if by_folder else file))
        sys.modules.pop("project", None)
    assert found.definition.name == "p"
    assert found.where.endswith(f"{file.stem}:mine")


def test_one_of_several_projects_is_chosen_by_its_name(tmp_path: Path) -> None:
    text = HEAD + END.replace("project =", "one = other =") + 'two = Project("q", [])\n'
    with written(tmp_path, text) as file:
        with pytest.raises(Misconfigured) as refused:
            check_project(str(file))
        assert str(refused.value) == f"{file} declares 2 projects, one, two: name one, such as {file}:one"
        assert check_project(f"{file}:two").definition.name == "q"
        with pytest.raises(Misconfigured, match=f"{file} has no 'three'; apply {file}:one or {file}:two"):
            check_project(f"{file}:three")


def test_a_module_without_a_project_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with (
        written(tmp_path, "x = 1\n") as file,
        pytest.raises(Misconfigured, match=f"{file} declares no project: it ends with `project = Project"),
    ):
        check_project(str(file))


def test_what_a_derived_column_raises_leads_to_its_line(tmp_path: Path) -> None:
    text = (
        f"{HEAD}import math\n\nlate = Deployment(\n"
        '    "d", unit="u", inputs=[Number("x")],\n    derived=[\n        Derived("y", lambda r: math.log(r.x)),\n    ],\n)\n'
        'project = Project("p", [late])\n'
    )
    with written(tmp_path, text) as file, pytest.raises(Misconfigured) as refused:
        check_project(str(file))
    assert str(refused.value).startswith(f"{file}:8: derived column y: TypeError: must be real number, not Term")
    assert "use arithmetic, comparisons and the functions of headrace.project.fn" in str(refused.value)


async def test_what_a_pipeline_raises_is_reported_with_its_line(tmp_path: Path) -> None:
    text = f"{HEAD}async def land(messages):\n    async for message in messages:\n        yield message['at']\n{END}"
    with written(tmp_path, text) as file:
        sys.path.insert(0, str(tmp_path))
        land = __import__(file.stem).land
        thread = TransformThread("land", land, (), lambda value: 1)
        done = thread.feed([{"when": 1}])
        done.result(timeout=10)
        failure = thread.failure
        thread.cancel()
    assert failure == f"KeyError: 'at' ({file}:5)"


def test_the_command_prints_it_in_one_line_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with written(tmp_path, f'{HEAD}Number("x", lo=1)\n{END}') as file:
        code = run(["check", str(file)])
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith(f"headrace: {file}:3: Number takes no 'lo': did you mean 'low'?")
    assert printed.err.count("\n") == 1


def test_what_can_be_applied_is_printed_with_a_block_per_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with written(tmp_path, HEAD + END) as file:
        code = run(["check", str(file)])
        as_json = run(["check", str(file), "--json"])
    printed = capsys.readouterr()
    assert (code, as_json, printed.err) == (0, 0, "")
    assert printed.out.startswith(
        "deployment d\n  answers   about u; until the first version requests are refused\n"
        "  watches   per window of 1d how requests were answered; no quality without a label\n  off       features (features="
    )
    report = json.loads(printed.out[printed.out.index("{\n") :])
    assert [found["deployment"] for found in report["deployments"]] == ["d"]
