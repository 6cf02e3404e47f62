"""What follows when instances have the version of a rollout warm, or have rejected it."""

from headrace.registry.state import Registry
from headrace.step import Step
from headrace_registry.core.instances import Instances
from headrace_registry.core.machine import About, Fact, Unloadable, Warmed, running, step_of
from headrace_registry.core.policies import choose_first_step
from headrace_registry.core.transitions import aborted, followed


def observed(instances: Instances, deployment: str, version: int, now_s: float) -> list[Warmed | Unloadable]:
    """What instances have made of a version by now, as messages to the rollout machine."""
    found: list[Warmed | Unloadable] = []
    name = f"{deployment}/{version}"
    reason = instances.unloadable(name)
    if reason is not None:
        found.append(Unloadable(version, reason))
    warmed = instances.warmed(name, now_s)
    if warmed and all(warmed.values()):
        found.append(Warmed())
    return found


def on_warmed(state: Registry, _: Warmed, about: About) -> Step[Registry, Fact]:
    """The rollout takes its first step."""
    rollout, entry = running(state, about), state.entry(about.deployment)
    return step_of(state, followed(entry, about.deployment, rollout, choose_first_step(rollout), None))


def on_unloadable(state: Registry, message: Unloadable, about: About) -> Step[Registry, Fact]:
    """An instance has rejected the version by its bytes or by what it did to a process: it must never take traffic."""
    rollout, entry = running(state, about), state.entry(about.deployment)
    if message.version != rollout.version:
        return step_of(state)
    reason = f"version {message.version} was rejected: {message.reason}"
    facts = aborted(entry, about.deployment, rollout, reason, cause="unloadable", is_harmful=True)
    return step_of(state, facts)
