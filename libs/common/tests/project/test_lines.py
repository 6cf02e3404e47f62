"""A refusal leads to the line to change."""

import importlib
import sys
from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.project.compile import compile_project
from headrace.project.faults import applicable
from headrace.project.lines import files_of, locate

PROJECT = """import msgspec
from headrace.project import *

class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None

landings = Source(
    "landings",
    event=Landing,
    event_time="at",
    key="carrier",
)
carrier = FeatureView(
    "carrier",
    source=landings,
    entity="carrier",
    features={
        "delay_3h": Mean("delay", "3h"),
        "landed": Count("3h"),
    },
)
late = Deployment(
    "late",
    unit="flight",
    inputs=[
        Number("hour"),
        Category("carrier"),
    ],
    features=[carrier.by("carrier")],
    derived=[
        Derived("twice", lambda r: r.hour * 2),
    ],
)
project = Project("p", [late], sources=[landings], views=[carrier])
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('Mean("delay", "3h")', 'Mean("delay", "3m")', "a multiple of 300 s"),
        ('Mean("delay", "3h")', 'Mean("dealy", "3h")', "needs a number or flag"),
        ('key="carrier"', 'key="carier"', "is not a field of Landing"),
        ('event_time="at"', 'event_time="when"', "must be a datetime or float field"),
        ("r.hour * 2", "r.hours * 2", "reads ['hours']"),
        ("r.hour * 2", "2 if r.hour else 1", "cannot branch"),
        ('carrier.by("carrier")', 'carrier.by("carier")', "names no input"),
        ("views=[carrier]", "views=[]", "is not in the project's views"),
    ],
)
def test_a_refusal_leads_to_the_line_to_change(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    name = f"wrong_{abs(hash((old, new)))}"
    (tmp_path / f"{name}.py").write_text(PROJECT.replace(old, new))
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(Misconfigured) as refused:
            compile_project(importlib.import_module(name).project)
        found = locate(str(refused.value), files_of(name))
    finally:
        sys.path.remove(str(tmp_path))
    assert sentence in str(refused.value)
    assert found is not None
    lines = PROJECT.replace(old, new).splitlines()
    assert new in lines[int(found.rpartition(":")[2]) - 1], (found, str(refused.value))


PARTS = {
    "parts": """from headrace.project import Binary, Training

HORIZON = "1d"


def build(signature):
    return None


TRAINING = Training(
    build,
    history="5d",
)
LABEL = Binary("y", HORIZON)
""",
    "project": """import headrace.project as hp

from .parts import LABEL, TRAINING as HOW

NAME = "late"
late = hp.Deployment(
    NAME,
    "flight",
    [hp.Number("hour")],
    label=LABEL,
    training=HOW,
)
project = hp.Project("p", deployments=[late])
""",
}


@pytest.mark.parametrize(
    ("change", "file", "line"),
    [
        (("", ""), "parts", '    history="5d",'),
        (("training=HOW", "evaluation_window=-5"), "project", "    evaluation_window=-5,"),
        (('[hp.Number("hour")]', '[hp.Number("hour", 5, 1)]'), "project", '    [hp.Number("hour", 5, 1)],'),
        (("    NAME,", '    f"{NAME}",'), "parts", '    history="5d",'),
    ],
)
def test_a_part_in_another_module_or_by_position_is_found(
    tmp_path: Path, change: tuple[str, str], file: str, line: str
) -> None:
    package = f"package_{abs(hash(change))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    texts = {name: text.replace(*change) if name == "project" else text for name, text in PARTS.items()}
    for name, text in texts.items():
        (tmp_path / package / f"{name}.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(Misconfigured) as refused:
            applicable(importlib.import_module(f"{package}.project").project)
        found = locate(refused.value.args[0], files_of(f"{package}.project"))
    finally:
        sys.path.remove(str(tmp_path))
    assert found is not None
    place, _, number = found.rpartition(":")
    assert place == str(tmp_path / package / f"{file}.py")
    assert texts[file].splitlines()[int(number) - 1] == line
