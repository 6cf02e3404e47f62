"""Which versions exist: immutable, counted from 1 per deployment, registered once per command."""

from headrace.events.registry import AliasMoved, CommandRefused, RegisterVersion, SetAlias, VersionRegistered
from headrace.policy.verdict import FAIL
from headrace_registry.core.state import Registry


def on_register(
    state: Registry, command: RegisterVersion, command_id: str, *, is_declared: bool, has_artifact: bool, now_s: float
) -> list[VersionRegistered | CommandRefused]:
    """A new version, nothing for a repeated command, or why not."""
    if command_id in state.commands:
        return []
    reason = _refusal(command, is_declared, has_artifact)
    if reason is not None:
        return [CommandRefused(command.deployment, "register.version", command_id, reason)]
    number = max(state.entry(command.deployment).versions, default=0) + 1
    return [
        VersionRegistered(
            deployment=command.deployment,
            model=command.model,
            version=number,
            place=command.place,
            model_digest=command.model_digest,
            signature=command.signature,
            output=command.output,
            classes=command.classes,
            lineage=command.lineage,
            metrics=command.metrics,
            gates=command.gates,
            reason=command.reason,
            trained_rows=command.trained_rows,
            by=command.by,
            registered_at_s=now_s,
            command_id=command_id,
        )
    ]


def _refusal(command: RegisterVersion, is_declared: bool, has_artifact: bool) -> str | None:
    if not is_declared:
        return f"no applied project declares a deployment {command.deployment!r}: run `headrace apply` first"
    if not has_artifact:
        return (
            f"artifact {command.place.digest[:12]} is not complete on registry.artifacts: publish it before registering"
        )
    failed = [gate for gate in command.gates if gate.verdict == FAIL]
    if failed:
        return f"gate {failed[0].gate} failed: measured {failed[0].measured}, limit {failed[0].limit}"
    return None


def on_set_alias(state: Registry, command: SetAlias, command_id: str) -> list[AliasMoved | CommandRefused]:
    """Move an alias by compare-and-set: of two operators at once one wins, the other is told why."""
    entry = state.entry(command.deployment)
    stands_at = entry.aliases.get(command.alias)

    def refused(reason: str) -> list[AliasMoved | CommandRefused]:
        return [CommandRefused(command.deployment, "set.alias", command_id, reason)]

    if command.alias in ("champion", "previous"):
        return refused(
            f"{command.alias} moves by rollouts only: use `headrace model release {command.deployment} {command.version}`"
        )
    if command.version not in entry.versions:
        return refused(f"{command.deployment} has no version {command.version}")
    if stands_at != command.expected:
        return refused(
            f"{command.alias} stands at {stands_at}, not at {command.expected} as expected: look again, then decide"
        )
    return [AliasMoved(command.deployment, command.alias, command.version, stands_at, command.reason)]
