"""Cases 15 and 26: a record of a plain producer has one meaning, or is refused in terms that its writer knows."""

import json
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest

from headrace.errors import Poison
from headrace.events.inference import DecisionMade, FellBack, Score
from headrace.evidence.explain import row_of, signature_of
from headrace.features.rows import bare_signature
from headrace.log.codec import Codec
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project

TOPICS = Topics.load()
CODEC = Codec(TOPICS)


def read(value: bytes, content_type: str | None = None, topic: str = "inference.requests") -> Any:
    headers = (("content-type", content_type.encode()),) if content_type else ()
    return CODEC.decode(Record(TOPICS.name(topic), 0, 0, b"k", value, headers, timestamp_ms=7_000)).event


@pytest.mark.parametrize("unit", [5, 5.0, "5"])
@pytest.mark.parametrize("write", [msgpack.packb, lambda found: json.dumps(found).encode()])
def test_a_unit_on_the_log_is_the_same_whatever_its_type(unit: Any, write: Any) -> None:
    asked = read(write({"deployment": "d", "inputs": {"x": 1.5}, "unit": unit}))
    assert (asked.unit, asked.inputs) == ("5", {"x": 1.5})
    known = read(write({"deployment": "d", "unit": unit, "label": 1.0}), topic="inference.outcomes")
    assert known.unit == "5"


@pytest.mark.parametrize("unit", ["true", "[]", "{}", "1" + "0" * 5000, "Infinity", "NaN"])
def test_what_is_no_unit_is_poison_and_names_the_field(unit: str) -> None:
    with pytest.raises(Poison, match="unit"):
        read(f'{{"deployment": "d", "unit": {unit}}}'.encode())


@pytest.mark.parametrize(
    ("value", "content_type", "message"),
    [
        (b"[1, 2]", None, "the value is a list: write one record per object"),
        (b' \n[{"deployment": "d"}]', None, "the value is a list: write one record per object"),
        (b'{"deployment": "d"}', "text/plain", "content-type is 'text/plain' but the value looks like JSON"),
        (b"[]", "text/plain", "content-type is 'text/plain' but the value looks like JSON"),
        (b"hello", None, 'the value is text and no JSON object: it begins with "hello"'),
        (b'"a text"', None, 'the value is text and no JSON object: it begins with "\\"a text\\""'),
        (b"7", None, 'the value is text and no JSON object: it begins with "7"'),
        (b'\xef\xbb\xbf{"deployment": "d"}', None, "the value is text and no JSON object after a byte order mark"),
        (b'{"deployment": "d", "inputs": {"x": NaN}}', None, "inputs.x: NaN and infinities are no numbers of JSON"),
        (b'{"deployment": "d", "inputs": {"x": -Infinity}}', None, "inputs.x: NaN and infinities are no numbers"),
        (b'{"deployment": "d", "inputs": 5}', None, "not a valid prediction.requested: Expected `object`, got `int`"),
        (b'{"inputs": {}}', None, "missing required field `deployment`"),
        (b"", None, "not MessagePack"),
    ],
)
def test_a_value_that_is_no_request_is_refused_with_what_it_is(
    value: bytes, content_type: str | None, message: str
) -> None:
    with pytest.raises(Poison) as refused:
        read(value, content_type)
    assert message in refused.value.reason
    assert len(refused.value.reason) < 300


@pytest.mark.parametrize("value", [b' {"deployment": "d"}', b'\r\n\t{"deployment": "d"}'])
def test_blanks_before_an_object_are_passed_over(value: bytes) -> None:
    assert read(value).deployment == "d"


def test_the_row_of_a_priors_answer_is_found_by_the_names_of_its_columns() -> None:
    project = compile_project(Project("p", [Deployment("d", "u", [Number("miles"), Category("carrier")])]))
    bare = bare_signature(project, project.deployments[0])
    row = np.array([500.0, np.nan], "<f4").tobytes()
    answer = FellBack("prior", "no version yet", Score(0, "", 0.26))
    decision = DecisionMade("r", "d", "u", 1.0, answer, 0, row=row, signature=bare.digest)
    projects: Any = SimpleNamespace(deployment=lambda _: (project, project.deployments[0]))
    assert row_of(decision, signature_of(projects, decision, None)) == {"miles": 500.0, "carrier": None}
    gone: Any = SimpleNamespace(deployment=lambda _: None)
    assert row_of(decision, signature_of(gone, decision, None)) == {"0": 500.0, "1": None}
