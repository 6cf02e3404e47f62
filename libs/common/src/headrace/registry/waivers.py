"""What the gates are called that may keep a trained version away, and so may be waived."""

from headrace.events.definition import DeploymentDefinition

PRIOR_GATE, CHAMPION_GATE = "beats_prior", "not_worse_than_champion"
PARITY_GATE = "parity_with_serving"


def waivable(deployment: DeploymentDefinition) -> tuple[str, ...]:
    """The gates of a deployment that trains: its project's; `beats_prior`, which a change may bring in; where it has features, parity.

    `onnx_parity` is none: it keeps no version away, the fitted file serves where the converted one differs.
    """
    names = [gate.kind for gate in deployment.gates]
    names += [PRIOR_GATE] + [PARITY_GATE] * bool(deployment.features)
    return tuple(dict.fromkeys(names))
