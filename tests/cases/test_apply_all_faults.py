"""`check` and `apply` report all independent faults of a project at once, not one per run."""

from pathlib import Path

import pytest
from tests.cases.declared_projects import PROJECT, checked, written

from headrace.errors import Misconfigured
from headrace_cli.main import run

# Each entry is one fault. Together they cover every stage that refuses: types, compiling, rules, and what cannot work.
FAULTS = [
    ("partitions=2,", "partitions=0,", "raw stream feed: partitions must lie in 1..1,000, got 0"),
    ('key="carrier"', 'key="carier"', "source landings: key='carier' is not a field of Landing"),
    ('Number("hour", low=0, high=23)', 'Number("hour", low="a")', "low of Number 'hour' must be a number, got 'a'"),
    ('Category("dest"),', '"dest",', "inputs[2] must be Number(...) or Category(...) or Key(...), got 'dest'"),
    ('cooldown="7d"', 'cooldown="soon"', "cooldown of Retraining is no duration"),
]
OTHER = """
other = Deployment(
    "other",
    unit="flight",
    inputs=[Number("miles", 5, 1)],
    label=Binary("late", horizon="0s"),
    time_limit=0,
)
third = Deployment(
    "third",
    unit="flight",
    inputs=[Number("miles")],
    label=Binary("late", horizon="1h"),
    training=Training(build, history="8d"),
    gates=[beats_prior(margin=1), beats_prior(margin=0.1)],
)
project = Project("""


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(Misconfigured) as found:
        checked(folder, text)
    first, *rest = str(found.value).splitlines()
    if not rest:
        return [first]
    assert first.endswith(" faults:"), first
    assert all(line.startswith("  ") for line in rest), rest
    return [line.strip() for line in rest]


def spoiled_in(*faults: tuple[str, str, str]) -> str:
    text = PROJECT
    for old, new, _ in faults:
        text = text.replace(old, new)
    return text


def test_all_faults_of_a_project_are_reported_each_with_its_line(tmp_path: Path) -> None:
    text = spoiled_in(*FAULTS).replace("project = Project(", OTHER).replace("[late]", "[late, other, third]")
    lines = refused(tmp_path, text)
    wanted = [
        *[message for _, _, message in FAULTS],
        "deployment other: miles must lie in low..high, got low 5 above high 1",
        "deployment other: the label's horizon must be at least 1 s",
        "deployment other: time_limit must be at least 0.001 s",
        "deployment third: history 8d leaves no rows to fit on",
        "deployment third: a margin of beats_prior for Binary is in nats, below 0.693, got 1",
        "deployment third: gate beats_prior is declared twice",
    ]
    for message in wanted:
        assert sum(message in line for line in lines) == 1, (message, lines)
    assert len(lines) == len(wanted), lines
    numbers = [int(line.split(": ")[0].rpartition(":")[2]) for line in lines]
    assert numbers == sorted(numbers)


def test_what_only_follows_from_a_fault_is_not_reported(tmp_path: Path) -> None:
    text = spoiled_in(FAULTS[1], FAULTS[0])
    lines = refused(tmp_path, text)
    assert [line.partition(": ")[2] for line in lines] == [FAULTS[0][2], FAULTS[1][2]]


@pytest.mark.parametrize("count", [20, 23])
def test_at_most_twenty_are_reported_and_how_many_more_there_are(tmp_path: Path, count: int) -> None:
    inputs = ", ".join(f'Number("x{n}", 2, 1)' for n in range(count))
    text = f'from headrace.project import *\n\nproject = Project("p", [Deployment("d", "u", [{inputs}])])\n'
    lines = refused(tmp_path, text)
    assert [f"x{n} must lie" in line for n, line in enumerate(lines[:20])] == [True] * 20
    assert lines[20:] == (["and 3 more"] if count == 23 else [])


def test_the_command_prints_them_on_stderr_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with written(tmp_path, spoiled_in(*FAULTS[:2])) as file:
        code = run(["check", str(file)])
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    first, *rest = printed.err.splitlines()
    assert first == "headrace: project flights has 2 faults:"
    assert [line.startswith(f"  {file}:") for line in rest] == [True, True]


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("None", "None"),
        ("float('nan')", "nan"),
        ("['a']", "['a']"),
        ("{}", "{}"),
        ("b'a'", "b'a'"),
    ],
)
def test_a_class_that_is_no_name_is_refused_with_its_line(tmp_path: Path, name: str, got: str) -> None:
    text = (
        "from headrace.project import *\n\nd = Deployment(\n"
        f'    "d", "u", [Number("x")],\n    label=Multiclass(\n        "m",\n        ["a",\n         {name}],\n        "1h"),\n)\n'
        'project = Project("p", [d])\n'
    )
    (line,) = refused(tmp_path, text)
    assert line.partition(": ")[0].endswith(":8"), line
    assert line.endswith(f"classes[1] of Multiclass 'm' must be a text or a whole number, got {got}")


@pytest.mark.parametrize(
    "classes", ['["a", 1, True]', "np.array(['a', 'b']).tolist()", "list(np.arange(3))", "(1.0, 2.0)"]
)
def test_classes_are_texts_and_numbers_also_numpys(tmp_path: Path, classes: str) -> None:
    text = (
        "import numpy as np\n\nfrom headrace.project import *\n\n"
        f'project = Project("p", [Deployment("d", "u", [Number("x")], label=Multiclass("m", {classes}, "1h"))])\n'
    )
    label = checked(tmp_path, text).definition.deployments[0].label
    assert label is not None
    assert "None" not in label.classes
