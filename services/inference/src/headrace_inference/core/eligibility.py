"""Which versions may be asked about a batch, and which of its rows each of them takes.

A version is not asked when it is not loaded, its breaker is open, it was made for another contract or label, too many features of a row
are missing or stale (`degrade_when`), or load must be shed.
"""

from collections.abc import Iterable, Mapping

from headrace.asking.fallback import Ask
from headrace.events.failures import Failure, RowUnfit, Shed
from headrace.events.registry import VersionRegistered
from headrace.features.rows import misfit, needs_views
from headrace_inference.core.batch import (
    Admitted,
    Case,
    DeploymentState,
    Failures,
    Features,
    Gathered,
    Name,
)
from headrace_inference.core.outputs import other_label
from headrace_inference.core.overload import BASELINE, SHADOWS

_NO_SHADOWS = Shed("overload: shadows do not score along")
_NO_BASELINE = Shed("overload: the baseline is not asked")


def versions_of(admitted: Admitted) -> dict[Name, bool]:
    """The versions that may be asked about a batch, and whether each of them only scores along, in none of its fallback chains."""
    found: dict[Name, bool] = {}
    for chain in admitted.chains:
        found |= {(chain.deployment, version): False for version in chain.versions}
    for chain in admitted.chains:
        for version in chain.state.shadows:
            found.setdefault((chain.deployment, version), True)
    return found


def gathered(
    admitted: Admitted,
    features: Mapping[str, Features],
    asked: Mapping[Name, VersionRegistered | Failure],
    levels: Mapping[str, int],
) -> Gathered:
    """All that a batch is decided by. `features`: of the deployments that have any; `asked`: each version that may be asked, or why it
    cannot be; `levels`: the load of the deployments whose requests were seen to wait.
    """
    states = {chain.deployment: chain.state for chain in admitted.chains}
    versions: dict[Name, VersionRegistered] = {}
    failures: dict[Name, Failure] = {}
    for name, found in asked.items():
        failure = _why_unfit(found, states[name[0]]) if isinstance(found, VersionRegistered) else found
        if failure is not None:
            failures[name] = failure
        elif isinstance(found, VersionRegistered):
            versions[name] = found
    missing = {name: states[name].rows.missing_of_each(found.values) for name, found in features.items()}
    shadows: dict[str, Failure] = {name: _NO_SHADOWS for name, level in levels.items() if level >= SHADOWS}
    before = Gathered(admitted, features, missing, versions, Failures(failures, {}, shadows))
    rows = _unfit_rows(before, [name for name, state in states.items() if _is_picky(state)])
    return Gathered(admitted, features, missing, versions, Failures(failures, rows, shadows)) if rows else before


def _why_unfit(registered: VersionRegistered, state: DeploymentState) -> Failure | None:
    reason = misfit(registered.signature, state.rows.bare) or other_label(registered, state.definition.label)
    return RowUnfit(reason) if reason is not None else None


def _is_picky(state: DeploymentState) -> bool:
    return state.level >= BASELINE or state.definition.degrade_when is not None


def _unfit_rows(gathered: Gathered, deployments: Iterable[str]) -> dict[int, dict[Name, Failure]]:
    """Per case the versions that cannot answer it alone: too many of its features are lacking, or load must be shed."""
    found: dict[int, dict[Name, Failure]] = {}
    for deployment in deployments:
        for case in gathered.admitted.by_deployment[deployment]:
            if unfit := _unfit_for(gathered, case):
                found[case.index] = unfit
    return found


def _unfit_for(gathered: Gathered, case: Case) -> dict[Name, Failure]:
    deployment, state = case.chain.deployment, case.chain.state
    found: dict[Name, Failure] = {}
    lack = state.rows.lack(*gaps_of(gathered, case)) if state.definition.degrade_when is not None else None
    if lack is not None:
        for version in (*case.chain.versions, *state.shadows):
            registered = gathered.versions.get((deployment, version))
            if registered is not None and needs_views(registered.signature):
                found[deployment, version] = RowUnfit(lack)
    if state.level >= BASELINE:
        spared = [step.version for step in case.chain.steps if isinstance(step, Ask) and step.name == "baseline"]
        found |= {(deployment, version): _NO_BASELINE for version in spared}
    return found


def gaps_of(gathered: Gathered, case: Case) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The features of a case that have no value, and those whose source has been silent for too long."""
    chain = case.chain
    features = gathered.features.get(chain.deployment)
    if features is None:
        return (), ()
    stale = chain.state.rows.stale(case.request.envelope.time_s, features.newest_s)
    return gathered.missing[chain.deployment][case.place], stale
