"""What the registry reports in the health record now and then: rollouts under way, and what its growing states take."""

from collections import Counter

from headrace.clock import Clock
from headrace.hosting.catalogue import ROLLOUT_SHARE, ROLLOUTS
from headrace.hosting.health import Health
from headrace.registry.state import ID_BYTES, IDS_KEPT, PAUSED, RUNNING, UNJUDGED, Fold, Rollout
from headrace_registry.core.instances import Instances
from headrace_registry.core.registration import VERSIONS_BYTES
from headrace_registry.settings import REPORT_EVERY_S

# What a rollout waits for when only a person's approval is missing.
APPROVAL = "approval"


class Report:
    """Reports at most every `REPORT_EVERY_S`. `health`: None where nobody is interested."""

    def __init__(self, clock: Clock, health: Health | None) -> None:
        self._clock, self._health, self._reported_s = clock, health, 0.0

    def make(self, fold: Fold, instances: Instances) -> None:
        """Report on these, unless that was done a moment ago."""
        now_s, health = self._clock.monotonic_s(), self._health
        if health is None or now_s - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s = now_s
        health.holds("registry_ids", fold.held_bytes, 2 * IDS_KEPT * ID_BYTES)
        health.holds("registry_instances", *instances.held_bytes())
        health.holds("registry_versions", fold.state.versions_bytes, VERSIONS_BYTES)
        running = {name: entry.rollout for name, entry in fold.state.entries.items() if entry.rollout is not None}
        standing = Counter(map(_standing_of, running.values()))
        names = (RUNNING, PAUSED, UNJUDGED, APPROVAL)
        health.measured.replace(ROLLOUTS, {(name,): standing[name] for name in names})
        health.measured.replace(ROLLOUT_SHARE, {(name,): found.share for name, found in running.items()})


def _standing_of(rollout: Rollout) -> str:
    return APPROVAL if rollout.awaits_approval and rollout.standing == RUNNING else rollout.standing
