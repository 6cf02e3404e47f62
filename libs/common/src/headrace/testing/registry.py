"""Builders of a registry's state with readable values, for tests of the registry and of readers of its facts."""

from collections.abc import Iterable
from typing import Any

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import ArtifactPlace, RegisterVersion, Signature, VersionRegistered
from headrace.events.verdicts import FAIL, PASS, Evidence, VerdictGiven
from headrace.registry.state import Registry, apply

PLACE = ArtifactPlace("a" * 64, 0, 1, 1)
HOUR_S = 3600.0
CANARY = RolloutDefinition(
    "canary", shares=(0.01, 0.25, 1.0), step_s=HOUR_S, min_decisions=10, shadow_first_s=HOUR_S, silence_s=300.0
)


def command(**changes: Any) -> RegisterVersion:
    """A registration for deployment `d`."""
    fields: dict[str, Any] = {
        "deployment": "d",
        "model": "d",
        "place": PLACE,
        "model_digest": "m",
        "signature": Signature((), "s"),
    } | changes
    return RegisterVersion(**fields)


def version_of(number: int, **changes: Any) -> VersionRegistered:
    """Version `number` of deployment `d`, as it was registered."""
    fields: dict[str, Any] = {
        "deployment": "d",
        "model": "d",
        "version": number,
        "place": PLACE,
        "model_digest": f"m{number}",
        "signature": Signature((), "s"),
        "output": "binary",
        "classes": (),
        "lineage": command().lineage,
        "metrics": {},
        "gates": (),
        "reason": "r",
        "trained_rows": 0,
        "by": "trainer",
        "registered_at_s": 0.0,
        "command_id": f"c{number}",
    } | changes
    return VersionRegistered(**fields)


def folded(state: Registry, facts: Iterable[Any]) -> Registry:
    """The state after facts."""
    for fact in facts:
        state = apply(state, fact)
    return state


def registered(count: int = 1) -> Registry:
    """`count` versions of deployment `d`."""
    return folded(Registry(), [version_of(number) for number in range(1, count + 1)])


def verdict(
    state: Registry, clock_s: float, *, guardrails: str = PASS, labels: str = PASS, **changes: Any
) -> VerdictGiven:
    """A verdict on the running rollout of `d`, or on the one promoted last; with evidence where it fails."""
    entry = state.entry("d")
    rollout = entry.rollout or (entry.last.rollout if entry.last else None)
    assert rollout is not None, "there is no rollout to judge"
    failed = {"guardrail": guardrails, "label": labels}
    evidence = tuple(Evidence(f"a_{kind}", kind, FAIL, 1.0, 0.5) for kind, found in failed.items() if found == FAIL)
    fields: dict[str, Any] = {"number": rollout.number, "step_decisions": 1000, "evidence": evidence} | changes
    return VerdictGiven(
        "d", rollout.id, rollout.version, guardrails=guardrails, labels=labels, clock_s=clock_s, **fields
    )
