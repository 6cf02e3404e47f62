"""What clients receive, word for word: metadata, configuration, answers in each dialect, and the memory of keys."""

from typing import Any

import pytest

from headrace.asking.prediction import OutputKind
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.idempotency import ENTRY_BYTES, IdempotencyKeys, KeyUse
from headrace_gateway.core.metadata import configuration, index_entries, metadata

PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")]),
            Deployment("own", unit="flight", inputs=[Category("flight")]),
        ],
    )
)
DELAY, OWN = PROJECT.deployment("delay"), PROJECT.deployment("own")
UNIT = {"name": "flight", "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}}
VERSION = {"name": "version", "datatype": "INT64", "shape": [-1]}
SCORE = {"name": "score", "datatype": "FP64", "shape": [-1]}


def test_metadata_names_inputs_the_unit_and_outputs() -> None:
    assert metadata(DELAY, (3, 4), OutputKind("number", ())) == {
        "name": "delay",
        "versions": ["3", "4"],
        "platform": "headrace",
        "inputs": [
            {"name": "miles", "datatype": "FP64", "shape": [-1]},
            {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
            UNIT,
        ],
        "outputs": [SCORE, VERSION],
    }


def test_a_unit_that_is_an_input_stands_once() -> None:
    found = metadata(OWN, (), OutputKind("number", ()))
    assert found["inputs"] == [{"name": "flight", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        (OutputKind("binary", ()), [SCORE, {"name": "label", "datatype": "INT64", "shape": [-1]}, VERSION]),
        (
            OutputKind("binary", ("no", "yes")),
            [
                SCORE,
                {"name": "label", "datatype": "BYTES", "shape": [-1], "parameters": {"classes": "no,yes"}},
                VERSION,
            ],
        ),
        (
            OutputKind("classes", ("a", "b", "c")),
            [
                {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3], "parameters": {"classes": "a,b,c"}},
                {"name": "label", "datatype": "BYTES", "shape": [-1], "parameters": {"classes": "a,b,c"}},
                VERSION,
            ],
        ),
        (
            OutputKind("classes", ()),
            [
                {"name": "probabilities", "datatype": "FP64", "shape": [-1, -1]},
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                VERSION,
            ],
        ),
    ],
)
def test_outputs_are_described_by_the_kind_of_label(kind: OutputKind, outputs: list[dict[str, Any]]) -> None:
    assert metadata(DELAY, (), kind)["outputs"] == outputs


def test_the_configuration_says_the_same_in_the_words_of_triton() -> None:
    assert configuration(DELAY, OutputKind("number", ())) == {
        "name": "delay",
        "platform": "headrace",
        "backend": "headrace",
        "max_batch_size": 0,
        "input": [
            {"name": "miles", "data_type": "TYPE_FP64", "dims": [-1]},
            {"name": "carrier", "data_type": "TYPE_STRING", "dims": [-1]},
            {"name": "flight", "data_type": "TYPE_STRING", "dims": [-1], "optional": True},
        ],
        "output": [
            {"name": "score", "data_type": "TYPE_FP64", "dims": [-1]},
            {"name": "version", "data_type": "TYPE_INT64", "dims": [-1]},
        ],
    }


def test_the_index_names_every_version_and_why_one_cannot_be_asked() -> None:
    routed_not_loaded = {"name": "d", "version": "2", "state": "UNAVAILABLE", "reason": "routed, not loaded"}
    ready = {"name": "d", "version": "3", "state": "READY", "reason": ""}
    loaded_not_routed = {"name": "d", "version": "4", "state": "UNAVAILABLE", "reason": "registered, not routed"}
    known = {"routed": (3, 2), "registered": {4, 3}, "loaded": {3, 4}}
    assert index_entries("d", **known, why_not_ready=None, only_ready=False) == [
        routed_not_loaded,
        ready,
        loaded_not_routed,
    ]
    assert index_entries("d", **known, why_not_ready=None, only_ready=True) == [ready]


@pytest.mark.parametrize(
    ("why", "state", "reason"),
    [(None, "READY", "no version yet: the prior answers"), ("no instance", "UNAVAILABLE", "no instance")],
)
def test_without_any_version_the_index_names_the_prior(why: str | None, state: str, reason: str) -> None:
    found = index_entries("d", (), (), (), why, only_ready=False)
    assert found == [{"name": "d", "version": "0", "state": state, "reason": reason}]
    assert index_entries("d", (), (), (), why, only_ready=True) == (found if state == "READY" else [])


# the memory of keys


def test_exactly_the_newest_keys_are_known() -> None:
    keys = IdempotencyKeys(2)
    assert [keys.note(key, b"x") for key in ("a", "b")] == [KeyUse.NEW, KeyUse.NEW]
    assert [keys.note(key, b"x") for key in ("a", "b")] == [KeyUse.SAME, KeyUse.SAME]
    assert (keys.held_bytes, keys.limit_bytes) == (2 * ENTRY_BYTES, 2 * ENTRY_BYTES)
    assert keys.note("c", b"x") is KeyUse.NEW
    assert keys.held_bytes == 2 * ENTRY_BYTES
    assert keys.note("b", b"y") is KeyUse.OTHER
    assert keys.note("a", b"x") is KeyUse.NEW
