"""Which step of its fallback chain answers each case of a batch, as things are, and why those above it do not."""

from collections.abc import Sequence

from headrace.asking.fallback import Chosen, choose_step, passed_over
from headrace.events.failures import Failure
from headrace_inference.core.batch import Case, Chain, Failures


def choices(cases: Sequence[Case], failures: Failures) -> list[Chosen]:
    """The step that answers each case. Cases with the same chain share one object, but for those with failures of their own."""
    shared: dict[Chain, Chosen] = {}
    found: list[Chosen] = []
    for case in cases:
        chosen = shared.get(case.chain)
        if chosen is None or case.index in failures.rows:
            chosen = choose_step(case.chain.steps, _failed_for(case, failures))
        if case.index not in failures.rows:
            shared[case.chain] = chosen
        found.append(chosen)
    return found


def failures_of(case: Case, chosen: Chosen, failures: Failures) -> dict[str, Failure]:
    """The versions that should have scored a case and did not, and why, by their digits, as they are written.

    Shadows are among them as far as they are not even asked.
    """
    if not failures.versions and not failures.shadows and case.index not in failures.rows:
        return {}
    chain = case.chain
    found = passed_over(chain.steps, chosen, _failed_for(case, failures))
    spared = failures.shadows.get(chain.deployment)
    for version in chain.state.shadows:
        failure = failures.of((chain.deployment, version), case.index) or spared
        if failure is not None:
            found[version] = failure
    return {str(version): failure for version, failure in found.items()}


def _failed_for(case: Case, failures: Failures) -> dict[int, Failure]:
    """The versions of a case's chain that cannot answer it, and why."""
    found = {version: failures.of((case.chain.deployment, version), case.index) for version in case.chain.versions}
    return {version: failure for version, failure in found.items() if failure is not None}
