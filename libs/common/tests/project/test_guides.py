"""The declarations in the guides and the README are valid: their blocks, and the arguments in their sentences."""

import dataclasses
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headrace.project as words
from headrace.project import Binary, Deployment, FeatureView, Number, Project, Source
from headrace.project.declared import wrong_arguments
from headrace.project.faults import faults

ROOT = Path(__file__).parents[4]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
ARGUMENTS = [field.name for field in dataclasses.fields(Deployment)]
SPAN = re.compile(rf"`((?:{'|'.join(ARGUMENTS)})=[^`]+)`")


class Seen(msgspec.Struct):
    """What features that a page leaves out belong to."""

    at: datetime
    who: str


SEEN = Source("seen", event=Seen, event_time="at", key="who")
VIEW = FeatureView("seen_view", source=SEEN, entity="who", features={"n": words.Count("3h")})


def build(signature: object) -> None:
    """Never called."""


def names() -> dict[str, Any]:
    """Names that a page presupposes; `...` stands for the reader's own inputs and features."""
    own = {"inputs": [Number("x"), words.Category("who")], "features": [VIEW.by("who")], "build": build}
    return {name: getattr(words, name) for name in words.__all__} | {"msgspec": msgspec, "datetime": datetime} | own


def filled(text: str) -> str:
    """What a reader writes in place of the dots."""
    return (
        re.sub(r"(inputs|features)=\[\.\.\.\]", r"\1=\1", text)
        .replace(", ...]", "]")
        .replace("build=...", "build=build")
    )


def declared_in(page: Path) -> dict[str, Any]:
    """The names that the blocks of a page define; pages without declarations are skipped."""
    found = names()
    for block in re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if re.search(r"\b(Deployment|Source|FeatureView)\(", block):
            exec(filled(block), found)
    return found


DECLARING = [page for page in PAGES if re.search(r"^\w+ = Deployment\(", page.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("page", DECLARING, ids=lambda page: page.stem)
def test_a_deployment_of_a_page_can_be_applied(page: Path) -> None:
    found = declared_in(page).values()
    deployments, sources, views = (
        [one for one in found if isinstance(one, kind)] for kind in (Deployment, Source, FeatureView)
    )
    project = Project("p", deployments=deployments, sources=[*sources, SEEN], views=[*views, VIEW])
    assert deployments
    assert faults(project) == []


@pytest.mark.parametrize(
    "span", sorted({span for page in PAGES for span in SPAN.findall(page.read_text())}), ids=lambda span: span[:40]
)
def test_an_argument_in_a_sentence_is_of_its_type(span: str) -> None:
    given = eval(f"dict({filled(span)})", names())
    declared = Deployment(**{"name": "d", "unit": "u", "inputs": [Number("x")], "label": Binary("y", "1h")} | given)
    assert list(wrong_arguments(Project("p", [declared]))) == []
