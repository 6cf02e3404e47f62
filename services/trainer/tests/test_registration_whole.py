"""The whole command to register a version, and the whole end of a run."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.trainer.tests.test_gates_whole import CHAMPION, DAY, PRIOR, result
from services.trainer.tests.test_training_set import DEPLOYMENT, chosen

from headrace.events.references import VersionReference
from headrace.events.registry import (
    ArtifactPlace,
    ColumnPin,
    GateResult,
    GoldenRow,
    Lineage,
    RegisterVersion,
    Signature,
    Waiver,
)
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace_trainer.core import endings
from headrace_trainer.core.fitting import Fitted, Gated
from headrace_trainer.core.registration import Published, Trained, command_of, why_too_large
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target
from headrace_trainer.core.training_set import LabelledRows

PLACES = [ArtifactPlace(letter * 64, 0, 1, 1) for letter in "abc"]
ACCEPTED = RetrainAccepted(
    "d", "run", "q", "drift", "it drifted", 60 * DAY, (Waiver(PRIOR, "ann", "r"), Waiver("a", "ann", "r"))
)
GOLDEN = (GoldenRow(b"1234", 0.5),)
REFERENCE = VersionReference(330, 50.0, 380.0, DAY, 100.0)


def trained(results: tuple[GateResult, ...] = (result(PRIOR, "FAIL"), result("a", "PASS"))) -> Trained:
    signature = Signature((ColumnPin("x"), ColumnPin("c", ("A", "B"))), "s")
    at_s = np.arange(400.0)
    matrix = np.stack([at_s, np.arange(400) % 2], axis=1).astype(np.float32)
    rows = LabelledRows(matrix, np.arange(400) % 2.0, at_s, [{"c": "AB"[n % 2]} for n in range(400)], {"t/0": 9})
    found = replace_set(chosen(None, None), rows=rows, signature=signature, parent=3, seed=5)
    gated = Gated([], {}, np.full(200, 0.25), Span(50.0, 150.0, 180.0, 380.0), None, 40.0)
    return Trained(found, gated, Fitted(None, "digest", {"auc": 0.7}, 330), results, REFERENCE)


def replace_set(found: Any, **changes: Any) -> Any:
    return dataclasses.replace(found, **changes)


def test_the_command_to_register_holds_all_that_is_known_of_a_version() -> None:
    found = command_of(
        ACCEPTED,
        DEPLOYMENT,
        trained(),
        Published(PLACES[0], PLACES[1], PLACES[2], GOLDEN),
        {"headrace": "0.1", "numpy": "2"},
    )
    half = {"rows": 100.0, "mean_score": 0.25}
    assert {name: {k: v for k, v in figures.items() if k in half} for name, figures in found.slices.items()} == {
        "c=A": half,
        "c=B": half,
    }
    assert (found.slices["c=A"]["positive_share"], found.slices["c=B"]["positive_share"]) == (0.0, 1.0)
    assert found.profile == {
        "x": {"null_share": 0.0, "mean": 214.5, "std": pytest.approx(95.26, abs=0.01), "min": 50.0, "max": 379.0},
        "c": {"null_share": 0.0},
    }
    lineage = Lineage(
        {"t/0": 9},
        50.0,
        380.0,
        "0.1",
        DEPLOYMENT.digest,
        5,
        3,
        {"headrace": "0.1", "numpy": "2"},
        twin_to_s=150.0,
        changed_at_s=40.0,
    )
    assert replace(found, slices={}, profile={}) == RegisterVersion(
        deployment="d", model="d", place=PLACES[0], model_digest="digest", signature=trained().training_set.signature, output="binary", lineage=lineage,
        metrics={"auc": 0.7}, gates=trained().gates, reason="drift: it drifted", trained_rows=330, rollout=True, onnx=PLACES[2],
        waivers=ACCEPTED.waivers[:1], golden=GOLDEN, twin=PLACES[1], reference=REFERENCE,
    )  # fmt: skip


def test_a_version_that_is_not_decided_asks_for_no_rollout() -> None:
    open_ = (result(CHAMPION, "INCONCLUSIVE"),)
    published = Published(PLACES[0], PLACES[1], None, ())
    of = replace(DEPLOYMENT, rollout=replace(DEPLOYMENT.rollout, policy="blue_green"))
    asked = [
        command_of(ACCEPTED, found, trained(open_), published, {"headrace": "0"}).rollout
        for found in (of, replace(of, rollout=replace(of.rollout, policy="canary")))
    ]
    assert asked == [False, True]
    waived = replace(ACCEPTED, waivers=(Waiver(CHAMPION, "ann", "r"),))
    assert command_of(waived, of, trained(open_), published, {"headrace": "0"}).rollout


class Known:
    """A model that has seen some of the classes."""

    classes_ = (0, 2)


def test_the_places_of_classes_that_a_model_has_seen_are_registered() -> None:
    found = trained()
    of_three = replace_set(
        found,
        training_set=replace_set(found.training_set, target=Target("classes", ("a", "b", "c"))),
        fitted=Fitted(Known(), "d", {}, 1),
        gated=replace_set(found.gated, scores=np.full((200, 3), 1 / 3)),
    )
    command = command_of(ACCEPTED, DEPLOYMENT, of_three, Published(PLACES[0], PLACES[1], None, ()), {"headrace": "0"})
    assert (command.output, command.classes, command.class_places) == ("classes", ("a", "b", "c"), (0, 2))


def test_what_fits_into_no_record_says_why() -> None:
    why = "the version's description takes 900,001 bytes, at most 900,000 fit into a record: a category has too many values"
    assert (why_too_large(900_000), why_too_large(900_001)) == (None, why)


def test_the_end_of_a_run_holds_what_came_of_it() -> None:
    ending = endings.Ending("registered", "why")
    fitted = Fitted(None, "digest", {}, 330)
    whole = TrainingFinished("d", "run", "registered", "why", "digest", 330, 2.5, is_released=False)
    assert endings.finished(ACCEPTED, ending, 2.5, is_released=False, fitted=fitted) == whole
    assert endings.finished(ACCEPTED, ending, 2.5, is_released=True) == replace(
        whole, model_digest="", trained_rows=0, is_released=True
    )
    released = "not switched to, gate a: PASS, why; `headrace rollout start d VERSION` releases it, and rollout=Canary(...) would compare it under traffic"
    assert endings.registered(result("a", "PASS"), "d") == endings.Ending("registered", released)
    assert endings.rejected(result("a", "FAIL")) == endings.Ending("rejected", "gate a: FAIL, why")
