"""What a version is asked before it serves, and whether rows are made here as the rows of its proof were.

The golden rows of a version come with the requests that they were made of. This instance makes these rows anew, to the bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import Scalar
from headrace.events.registry import GoldenRow, Signature, VersionRegistered
from headrace.features.rows import bare_signature, misfit
from headrace.features.samples import maker_of, sample

# Drawn by the contract: enough for each sort of row, few enough for a model that takes its time.
DRAWN_ROWS = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """`rows`: such as the contract allows, float32 (n, columns), none where the version does not fit the contract any more. `otherwise`:
    why rows are not made here as those of its proof were, None where they are.
    """

    rows: NDArray[np.float32]
    otherwise: str | None = None


def asked_of(found: tuple[ProjectDefinition, DeploymentDefinition] | None, registered: VersionRegistered) -> Asked:
    """What to ask a version first. `found`: its deployment as it is defined now, None when no project declares it."""
    signature = registered.signature
    if found is None or not _is_made_for(*found, signature):
        return Asked(np.empty((0, len(signature.columns)), np.float32))
    deployment = found[1]
    return Asked(
        sample(deployment, signature, DRAWN_ROWS).rows, why_otherwise(deployment, signature, registered.golden)
    )


def _is_made_for(project: ProjectDefinition, deployment: DeploymentDefinition, signature: Signature) -> bool:
    bare = bare_signature(project, deployment)
    if misfit(signature, bare) is not None:
        return False
    kinds = zip(signature.columns, bare.columns, strict=False)  # one of inputs only has fewer
    return all((had.vocabulary is None) == (has.vocabulary is None) for had, has in kinds)


def why_otherwise(deployment: DeploymentDefinition, signature: Signature, golden: tuple[GoldenRow, ...]) -> str | None:
    """Why the rows of a proof would be others here, None where they are the same, or their requests are not known."""
    known = [(found, found.inputs) for found in golden if found.inputs is not None]
    columns = len(signature.columns)
    if not known or any(len(found.row) != 4 * columns for found, _ in known):
        return None
    wanted = np.frombuffer(b"".join(found.row for found, _ in known), "<f4").reshape(-1, columns)
    made = _made(deployment, signature, [inputs for _, inputs in known], wanted)
    same = (made == wanted) | (np.isnan(made) & np.isnan(wanted))
    if same.all():
        return None
    row, place = (int(found[0]) for found in np.nonzero(~same))
    return (
        f"golden row {row} holds {wanted[row, place]:.9g} for {signature.columns[place].name}, here its request makes"
        f" {made[row, place]:.9g}: another version of Headrace made it"
    )


def _made(
    deployment: DeploymentDefinition, signature: Signature, inputs: list[dict[str, Scalar]], wanted: NDArray[np.float32]
) -> NDArray[np.float32]:
    own = sum(field.kind != "key" for field in deployment.inputs) + len(deployment.derived)
    # NB: features are what the proof had: only events make them.
    features = wanted[:, own:].astype(np.float64) if signature.views_digest else np.empty((len(wanted), 0))
    return maker_of(deployment, signature).rows(inputs, features)
