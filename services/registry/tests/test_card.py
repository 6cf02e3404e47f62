"""Model cards: what is known is stated, what is not is not made up, and no text breaks the page."""

from typing import Any

import pytest
import yaml

from headrace.events.registry import ArtifactPlace, ColumnPin, GateResult, Lineage, Signature, Waiver
from headrace.project import Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_registry.core.card import write_card


def card(owner: str = "", intended_use: str = "", **changes: Any) -> str:
    deployment = Deployment("d", "unit", [Number("x")], owner=owner, intended_use=intended_use)
    return write_card(version_of(3, **changes), compile_project(Project("p", [deployment])).deployments[0])


def front_matter(markdown: str) -> dict[str, Any]:
    start, matter, _ = markdown.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


def test_the_front_matter_has_tags_metrics_and_a_model_index() -> None:
    found = front_matter(card(metrics={"holdout_auc": 0.7}, tags={"team": "ops"}))
    assert found["tags"] == ["headrace", "binary", "skops", "team:ops"]
    (result,) = found["model-index"][0]["results"]
    assert result["task"] == {"type": "tabular-classification"}
    assert result["metrics"] == [{"type": "holdout_auc", "value": 0.7}]


def test_lineage_profile_slices_gates_and_waivers_are_told() -> None:
    written = card(
        lineage=Lineage({"inference.requests.v1/0": 7}, 0.0, 86_400.0, "0.1", "dd", 4, 2, {"numpy": "2"}),
        trained_rows=1234,
        gates=(GateResult("beats_prior", "FAIL", 0.7, 0.5, "m", "worse than the prior"),),
        waivers=(Waiver("beats_prior", "ann", "an experiment"),),
        profile={"miles": {"mean": 2.0, "null_share": 0.5}},
        slices={"carrier=AA": {"rows": 150.0, "auc": 0.5}},
        signature=Signature((ColumnPin("miles"), ColumnPin("carrier", ("AA", "UA"))), "s"),
    )
    for line in (
        "1,234 labelled rows. Requests to 1970-01-02T00:00:00Z.",
        "`inference.requests.v1/0` to 7",
        "| trained beside | version 2 |",
        "| miles | 2 | 0.5 |",
        "| carrier=AA | 0.5 | 150 |",
        "| beats_prior | FAIL | 0.7 | 0.5 | worse than the prior |",
        "- beats_prior: waived by ann, an experiment",
        "2 columns, signature `s`: `miles`, `carrier` (category, 2 values).",
    ):
        assert line in written


def test_what_nobody_said_is_named_as_not_stated() -> None:
    written = card()
    assert "## Intended use\nNot stated." in written
    assert "| owner | Not stated. |" in written
    assert "## Waivers" not in written
    assert "metrics" not in front_matter(written)


@pytest.mark.parametrize("text", ['a "quoted" one', "two\nlines", "a | b", "---\nx: 1", "back\\slash", "café"])
def test_no_text_breaks_the_page(text: str) -> None:
    written = card(owner=text, intended_use="fine", model=text, reason=text, tags={text: text})
    matter = front_matter(written)
    assert matter["version"] == 3
    assert matter["model_name"] == text.replace("\n", " ")
    (row,) = [line for line in written.splitlines() if line.startswith("| owner")]
    assert row.replace("\\|", "").count("|") == 3


WHOLE = """---
model_name: "d"
version: 3
tags:
- "headrace"
- "number"
- "skops"
metrics:
- "mae"
model-index:
- name: "d"
  results:
  - task:
      type: tabular-regression
    dataset:
      name: "d"
      type: headrace-log
    metrics:
    - type: "mae"
      value: 1.5
---

# d, version 3

## Intended use
To try things.

## Model
|  |  |
| --- | --- |
| owner | ann |
| registered | 1970-01-01T00:00:05Z by trainer |
| why | r |
| output | number (a, b) |
| model digest | `m3` |
| artifact | `aaaa` (skops, 1,234 bytes) |
| ONNX | `bbbb` (2,345 bytes) |
| trained beside | version 2 |
| code | 0.1 |
| packages | numpy 2, river 1 |
| seed | 4 |

## Training data
12 labelled rows. Requests from 1970-01-01T00:00:01Z to 1970-01-01T00:00:02Z. Read from the log: `t/0` to 1,007. 

| column | mean | std | min | max | null_share | odd |
| --- | --- | --- | --- | --- | --- | --- |
| miles | 2 | 3 | - | 9 | 0.5 | 7 |

## Evaluation
| metric | value |
| --- | --- |
| mae | 1.5 |

## Slices of the holdout
| slice | auc | rows |
| --- | --- | --- |
| carrier=A\\|B | 0.1235 | 150 |
| carrier=C | - | 20 |

## Gates
| gate | verdict | measured | limit | detail |
| --- | --- | --- | --- | --- |
| beats_prior | PASS | 0.7 | - | fine |

## Waivers
- beats_prior: waived by ann, an experiment
- other: waived by bob, two \\| three

## Rows
2 columns, signature `s`: `miles`, `carrier` (category, 2 values).
"""


def test_a_whole_card() -> None:
    written = card(
        owner="ann", intended_use="To try things.", output="number", classes=("a", "b"), registered_at_s=5.0, trained_rows=12, metrics={"mae": 1.5},
        place=ArtifactPlace("aaaa", 0, 1_234, 1), onnx=ArtifactPlace("bbbb", 0, 2_345, 1),
        lineage=Lineage({"t/0": 1_007}, 1.0, 2.0, "0.1", "dd", 4, 2, {"river": "1", "numpy": "2"}),
        profile={"miles": {"odd": 7.0, "max": 9.0, "null_share": 0.5, "std": 3.0, "mean": 2.0, "min": None}},
        slices={"carrier=A|B": {"rows": 150.0, "auc": 0.12345}, "carrier=C": {"rows": 20.0}},
        gates=(GateResult("beats_prior", "PASS", 0.7, None, "m", "fine"),),
        waivers=(Waiver("beats_prior", "ann", "an experiment"), Waiver("other", "bob", "two\n| three")),
        signature=Signature((ColumnPin("miles"), ColumnPin("carrier", ("AA", "UA"))), "s"),
    )  # fmt: skip
    assert written == WHOLE


def test_a_card_of_a_version_of_which_hardly_anything_is_known() -> None:
    written = card(reason="", output="binary")
    assert "  - task:" not in written
    for heading, text in (("Training data", "Not stated."), ("Gates", "No gate was asked.")):
        assert f"## {heading}\n{text}\n" in written
    for absent in ("## Evaluation", "## Slices", "## Waivers", "## Rows", "| ONNX", "| trained beside", "| code"):
        assert absent not in written
    assert "| why | Not stated. |" in written
    assert "      type: tabular-classification\n" in card(metrics={"auc": 0.7})
