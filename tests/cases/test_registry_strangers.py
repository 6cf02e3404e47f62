"""Case 26: what strangers can write to the registry, and what it keeps of it."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.ops import LOADS_REPORTED, FailedLoads, HealthReported
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    ArchiveVersion,
    CommandRefused,
    DeleteVersion,
    PauseRollout,
    PromoteRollout,
    RegisterVersion,
    ResumeRollout,
    RetryRollout,
    RollBack,
    SetAlias,
    SetOverride,
    StartRollout,
    TagVersion,
    TimedOut,
)
from headrace.registry import state as registry
from headrace.registry.state import Fold, Registry
from headrace.testing.registry import CANARY, command, folded, registered, version_of
from headrace_registry.core import admission, registration, rollout, versions
from headrace_registry.core.instances import REPORTS_KEPT, Instances
from headrace_registry.core.machine import Warmed


def test_a_command_about_an_unknown_deployment_names_those_that_there_are() -> None:
    state = registered(1)
    found = admission.refusal(state, ["flights", "d"], AbortRollout("NOPE", "r", "me"), "c1")
    assert found == CommandRefused(
        "NOPE", "abort.rollout", "c1", "there is no deployment 'NOPE'; there are: d, flights"
    )
    assert admission.refusal(state, [], AbortRollout("d", "r", "me"), "c1") is None
    nothing = admission.refusal(Registry(), [], AbortRollout("NOPE", "r", "me"), "c1")
    assert nothing is not None
    assert "headrace apply" in nothing.reason


def test_refusals_of_unknown_deployments_leave_nothing_behind() -> None:
    fold = Fold()
    for n in range(100):
        fold.take(CommandRefused(f"x{n}", "abort.rollout", f"c{n}", "r"), f"f{n}")
    assert fold.state.entries == {}


def test_ids_and_ended_rollouts_and_reports_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "IDS_KEPT", 50)
    monkeypatch.setattr(registry, "ENDED_KEPT", 5)
    fold = Fold()
    for n in range(1, 201):
        fold.take(version_of(n, command_id=f"c{n}" * 1000), f"f{n}" * 1000)
    assert fold.held_bytes == 100 * registry.ID_BYTES
    assert fold.state.has_registered("c200" * 1000)
    assert not fold.state.has_registered("c1" * 1000)
    instances = Instances()
    for n in range(REPORTS_KEPT * 2):
        failed = {f"d/{version}": FailedLoads((float(n),), "memory", "no room") for version in range(LOADS_REPORTED)}
        report = HealthReported("inference", f"i{n}", True, failed_loads=failed, rejected=dict.fromkeys(failed, "no"))
        instances.take(report, float(n))
    used_bytes, bound = instances.held_bytes()
    assert used_bytes <= bound


def test_a_registration_is_refused_where_the_registry_has_no_room_or_no_clock_could_go_on_from_it() -> None:
    context = {"is_declared": True, "has_artifact": True, "now_s": 0.0}
    full = Registry(versions_bytes=registration.VERSIONS_BYTES + 1)
    (refused,) = registration.on_register(full, command(), "c", **context).facts
    assert "model delete" in refused.reason
    for wild in (math.inf, math.nan, 1e300):
        lineage = msgspec.structs.replace(command().lineage, request_to_s=wild)
        (refused,) = registration.on_register(Registry(), command(lineage=lineage), "c", **context).facts
        assert "1..9999" in refused.reason
    place = msgspec.structs.replace(command().place, chunk_count=10**18)
    (refused,) = registration.on_register(Registry(), command(place=place), "c", **context).facts
    assert "chunks" in refused.reason


texts = st.one_of(
    st.sampled_from(["d", "e", "me", "champion", "baseline", "canary", ""]), st.text(max_size=30), st.just("x" * 70_000)
)
numbers = st.one_of(st.integers(0, 4), st.integers(-(2**63), 2**64 - 1))
kinds = st.sampled_from(
    [AbortRollout, ApproveVersion, ArchiveVersion, DeleteVersion, PauseRollout, PromoteRollout, RegisterVersion, ResumeRollout,
     RetryRollout, RollBack, SetAlias, SetOverride, StartRollout, TagVersion, TimedOut]
)  # fmt: skip


@st.composite
def commands(draw: st.DrawFn) -> Any:
    """Any command with any values of the right types, as a codec accepts them."""
    kind = draw(kinds)
    if kind is RegisterVersion:
        return command(deployment=draw(texts), reason=draw(texts), tags=draw(st.dictionaries(texts, texts, max_size=3)),
                       metrics=draw(st.dictionaries(texts, st.floats(), max_size=3)),
                       lineage=msgspec.structs.replace(command().lineage, request_to_s=draw(st.floats())))  # fmt: skip
    values: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        match name:
            case "version" | "expected":
                values[name] = draw(numbers)
            case "tags":
                values[name] = draw(st.dictionaries(texts, texts, max_size=3))
            case "for_s":
                values[name] = draw(st.floats())
            case "what":
                values[name] = draw(st.sampled_from(["pause", "silence", "warming", "load"]))
            case "policy":
                values[name] = draw(st.none() | texts)
            case _:
                values[name] = draw(texts)
    return kind(**values)


BY_HAND = {
    SetAlias: versions.on_set_alias,
    SetOverride: versions.on_set_override,
    TagVersion: versions.on_tag,
    ArchiveVersion: versions.on_archive,
    DeleteVersion: versions.on_delete,
    ApproveVersion: versions.on_approve,
}


@given(st.lists(st.tuples(commands(), texts, st.booleans()), max_size=25))
@settings(max_examples=40, deadline=None)
def test_no_command_raises_and_what_strangers_write_does_not_grow(history: list) -> None:
    state = registered(3)
    for event, ident, is_warm in history:
        if admission.why_dead(event.deployment, ident) is not None:
            continue
        refused = admission.refusal(state, ["d"], event, ident)
        if refused is not None:
            facts: list[Any] = [refused]
        elif isinstance(event, RegisterVersion):
            known = {"is_declared": event.deployment == "d", "has_artifact": True, "now_s": 0.0}
            facts = list(registration.on_register(state, event, ident, **known).facts)
        elif type(event) in BY_HAND:
            facts = list(BY_HAND[type(event)](state, event, ident).facts)
        else:
            facts = list(rollout.on_message(state, event.deployment, event, ident, CANARY).facts)
        if is_warm:
            facts += rollout.on_message(folded(state, facts), "d", Warmed(), "", CANARY).facts
        for fact in facts:
            assert len(msgspec.msgpack.encode(fact)) < 900_000
        state = folded(state, facts)
    assert set(state.entries) == {"d"}
