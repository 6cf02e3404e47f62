"""What an instance of inference has answered since it started: per deployment, by outcome and version, with digests.

Counts only grow. The number of deployments and versions is bounded (`events.ops`); what is beyond is counted together.
"""

from collections.abc import Callable

from headrace.events.ops import DEPLOYMENTS_REPORTED, VERSIONS_REPORTED, DeploymentTraffic
from headrace.latency import Digest

# The steps of a fallback chain (`champion` for a preview that failed) and the outcomes without an answer: the closed set of
# `DeploymentTraffic.outcomes`.
OUTCOMES = ("served", "champion", "previous", "baseline", "prior", "refused", "expired", "invalid")
# The stages of a request: it waits to be handled, features are looked up, models are called, the decision is committed.
STAGES = ("queue", "features", "model", "commit")
# Versions: none answered (the prior did, or nothing), and one that the route does not name.
NO_VERSION, OTHER = "none", "other"
# Deployments that do not exist, and those beyond the limit.
REST = ""
# Where scores lie between 0 and 1, or numbers between the ends of their declared range.
SCORE_BOUNDS = tuple(step / 10 for step in range(1, 10))


class Tally:
    """The counts of one deployment. `answered`: decisions by outcome and version (digits, `NO_VERSION` or `OTHER`).

    `latency`: from append to commit, per decision; `scores`: the answers of models, see `SCORE_BOUNDS`. The other
    counts are those of `DeploymentTraffic`.
    """

    __slots__ = ("answered", "latency", "missing", "rows", "scores", "stale", "unknown", "versions")

    def __init__(self) -> None:
        self.answered: dict[tuple[str, str], int] = {}
        self.versions: dict[str, None] = {}
        self.latency, self.scores = Digest(), Digest(SCORE_BOUNDS)
        self.missing = self.stale = self.unknown = self.rows = 0

    def count(self, outcome: str, version: int, times: int, is_named: Callable[[int], bool]) -> None:
        """Count decisions. `version`: the one that answered, 0 for none; `is_named`: whether the route names it."""
        label = str(version) if version else NO_VERSION
        if version and label not in self.versions:
            if is_named(version):
                self._make_room()
                self.versions[label] = None
            else:
                label = OTHER
        key = (outcome, label)
        self.answered[key] = self.answered.get(key, 0) + times

    def reported(self) -> DeploymentTraffic:
        """The counts as `ops.health` carries them."""
        outcomes: dict[str, int] = {}
        versions: dict[str, int] = {}
        for (outcome, version), count in self.answered.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
            if version != NO_VERSION:
                versions[version] = versions.get(version, 0) + count
        latency = tuple(self.latency.counts)
        return DeploymentTraffic(
            outcomes, versions, latency, round(self.latency.total, 3), self.missing, self.stale, self.unknown
        )

    def _make_room(self) -> None:
        """Add what the version that was counted first answered to what others did, when there are many versions."""
        if len(self.versions) < VERSIONS_REPORTED:
            return
        first = next(iter(self.versions))
        del self.versions[first]
        for outcome in OUTCOMES:
            moved = self.answered.pop((outcome, first), 0)
            if moved:
                self.answered[outcome, OTHER] = self.answered.get((outcome, OTHER), 0) + moved


class Traffic:
    """The tallies of one instance, and how long the stages of its requests took."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.stages = {stage: Digest() for stage in STAGES}

    def of(self, deployment: str, *, exists: bool) -> Tally:
        """The tally of a deployment, or that of the rest."""
        found = self.tallies.get(deployment)
        if found is None:
            name = deployment if exists and len(self.tallies) < DEPLOYMENTS_REPORTED else REST
            found = self.tallies.setdefault(name, Tally())
        return found

    def reported(self) -> dict[str, DeploymentTraffic]:
        """The counts as `ops.health` carries them. Costs about 3 us per deployment."""
        return {name: tally.reported() for name, tally in self.tallies.items()}
