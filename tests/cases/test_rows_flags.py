"""True and false follow one rule at every way in: for a Number they are 1 and 0, also in an entity key; for a Key they are the text of JSON."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.events.inference import PredictionRequested, Scalar
from headrace.features.dataset import Inputs
from headrace.features.rows import RowMaker, check_inputs, entities_of, pin_signature
from headrace.log.codec import Codec
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Category, Count, Deployment, Derived, FeatureView, Key, Number, Project, Source
from headrace.project.compile import compile_project
from headrace_cli.client.rows import Row, plain
from headrace_cli.replay.history import _reader
from headrace_gateway.core.calls import Asked, Call
from headrace_gateway.core.requests import read_named, read_v1, read_v2
from headrace_gateway.settings import Limits
from headrace_inference.core.contract import Contract


class Seen(msgspec.Struct):
    at: float
    text: str
    whole: int
    real: float
    flag: bool


SEEN = Source("seen", event=Seen, event_time="at", key="text")
VIEWS = [
    FeatureView(f"by_{name}", source=SEEN, entity=name, features={"n": Count("1h")})
    for name in ("text", "whole", "real", "flag")
]
PROJECT = compile_project(
    Project("p", [Deployment("d", "u", inputs=[Number("x"), Key("k")],
        features=[view.by("x") for view in VIEWS[:3]] + [VIEWS[3].by("k")],
        derived=[Derived("twice", lambda r: r.x * 2), Derived("is_true", lambda r: r.k == "true")])],
        sources=[SEEN], views=VIEWS)
)  # fmt: skip
DEPLOYMENT = PROJECT.deployments[0]
SIGNATURE = pin_signature(PROJECT, DEPLOYMENT, {})
TOPICS = Topics.load()


def by_client(x: Any) -> dict[str, Scalar]:
    return plain(Row({"x": x, "k": x}), 0.0).inputs


def call() -> Call:
    return Call(deployment=DEPLOYMENT, limits=Limits(), now_s=1.7e9, make_id=lambda: "id")


def asked(found: Any) -> dict[str, Scalar]:
    assert isinstance(found, Asked), found
    return dict(found.questions[0].request.inputs)


def by_http(x: bool) -> dict[str, Scalar]:
    return asked(read_named(json.dumps({"inputs": {"x": x, "k": x}}).encode(), call()))


def by_v1(x: bool) -> dict[str, Scalar]:
    return asked(read_v1(json.dumps({"instances": [{"x": x, "k": x}]}).encode(), call()))


def by_tensor(datatype: str) -> Any:
    def read(x: bool) -> dict[str, Scalar]:
        tensors = [
            {"name": name, "datatype": kind, "shape": [1], "data": [x]}
            for name, kind in (("x", datatype), ("k", "BOOL"))
        ]
        return asked(read_v2(json.dumps({"inputs": tensors}).encode(), call()))

    return read


def by_kafka(write: Any) -> Any:
    def read(x: bool) -> dict[str, Scalar]:
        value = write({"deployment": "d", "inputs": {"x": x, "k": x}})
        event = Codec(TOPICS).decode(Record(TOPICS.name("inference.requests"), 0, 0, b"u", value, (), 1000)).event
        assert isinstance(event, PredictionRequested)
        return dict(event.inputs)

    return read


def by_replay(x: bool) -> dict[str, Scalar]:
    return {found.name: _reader(found)(x) for found in DEPLOYMENT.inputs}


DOORS = {
    "client": by_client, "client, numpy": lambda x: by_client(np.bool_(x)), "HTTP": by_http, "V1": by_v1,
    "V2 BOOL": by_tensor("BOOL"), "V2 FP64": by_tensor("FP64"), "Kafka, JSON": by_kafka(msgspec.json.encode),
    "Kafka, MessagePack": by_kafka(msgspec.msgpack.encode), "replay": by_replay,
}  # fmt: skip


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("door", DOORS)
def test_a_flag_is_the_same_number_and_names_the_same_at_every_door_and_in_training(door: str, x: bool) -> None:
    inputs = DOORS[door](x)
    assert check_inputs(DEPLOYMENT, inputs) is None
    text = "true" if x else "false"
    named = {"by_text": str(int(x)), "by_whole": str(int(x)), "by_real": str(float(x)), "by_flag": str(x)}
    trained = Inputs(DEPLOYMENT)
    trained.add(inputs)
    maker, features = RowMaker(DEPLOYMENT, SIGNATURE), np.zeros((1, 4))
    for seen in (inputs, trained[0]):
        assert entities_of(DEPLOYMENT, seen) == named
        assert maker.rows([seen], features)[0].tolist() == [float(x), 2.0 * x, float(text == "true"), 0, 0, 0, 0]


def test_a_batch_with_flags_is_judged_as_one_by_one() -> None:
    limited = Deployment("d", "u", inputs=[Number("x", 1, 1)])
    (deployment,) = compile_project(Project("p", [limited])).deployments
    asked_for: list[dict[str, Scalar]] = [{"x": True}, {"x": False}, {"x": 1}, {"x": 1.0}, {"x": 0}]
    alone = [check_inputs(deployment, inputs) is None for inputs in asked_for]
    vouched = Contract(deployment).vouches(asked_for)
    assert alone == [True, False, True, True, False]
    assert all(alone[n] for n, fine in enumerate(vouched) if fine)


@pytest.mark.parametrize("kind", ["text", "whole"])
def test_a_key_that_is_a_flag_is_named_as_a_file_has_it(kind: str) -> None:
    view = VIEWS[["text", "whole"].index(kind)]
    (deployment,) = compile_project(
        Project("p", [Deployment("d", "u", inputs=[Key("k")], features=[view.by("k")])], sources=[SEEN], views=[view])
    ).deployments
    wanted = {"text": "true", "whole": "1"}[kind]
    assert entities_of(deployment, {"k": True}) == {f"by_{kind}": wanted}
    if kind == "text":
        assert entities_of(deployment, {"k": _reader(deployment.inputs[0])(True)}) == {"by_text": wanted}


def test_a_category_is_a_text_at_every_door() -> None:
    (found,) = compile_project(Project("p", [Deployment("d", "u", inputs=[Category("c")])])).deployments
    refused = check_inputs(found, {"c": True})
    assert refused is not None
    assert refused.reason == "c must be text, got bool"
