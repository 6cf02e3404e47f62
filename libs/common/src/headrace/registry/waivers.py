"""The gates that may keep a trained version away, which of them may be waived, and which waivers count."""

from collections.abc import Iterable

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import Waiver

PRIOR_GATE, CHAMPION_GATE = "beats_prior", "not_worse_than_champion"
PARITY_GATE = "parity_with_serving"
# The number of unknown gates that a refusal lists: a request may name any number.
_LISTED = 5


def waivable(deployment: DeploymentDefinition) -> tuple[str, ...]:
    """The gates of a deployment that trains: its project's, `beats_prior` after a change, and parity where it has
    features.

    `onnx_parity` is not one of them. It keeps no version away, since the fitted file serves where the converted one
    differs.
    """
    names = [gate.kind for gate in deployment.gates]
    names += [PRIOR_GATE] + [PARITY_GATE] * bool(deployment.features)
    return tuple(dict.fromkeys(names))


def refuse_waivers(deployment: DeploymentDefinition, gates: Iterable[str]) -> str | None:
    """Why waivers of these gates are refused: the deployment has no such gate. None where all may be waived."""
    names = waivable(deployment)
    unknown = [gate for gate in dict.fromkeys(gates) if gate not in names]
    if not unknown:
        return None
    listed = ", ".join(map(repr, unknown[:_LISTED])) + f" and {len(unknown) - _LISTED} more" * (len(unknown) > _LISTED)
    return f"no gate {listed} keeps a version of {deployment.name} away: --waive takes {', '.join(names)}"


def waived(waivers: Iterable[Waiver]) -> set[str]:
    """The waived gates. A waiver counts only with a name and a reason."""
    return {waiver.gate for waiver in waivers if waiver.by.strip() and waiver.reason.strip()}
