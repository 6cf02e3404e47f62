"""What the registry's growing states take, reported in the health record now and then."""

from collections.abc import Callable

from headrace.clock import Clock
from headrace.registry.state import ID_BYTES, IDS_KEPT, Fold
from headrace_registry.core.instances import Instances
from headrace_registry.core.registration import VERSIONS_BYTES
from headrace_registry.settings import REPORT_EVERY_S

# Takes the name of a state that grows, the bytes that it holds, and its bound: see `Health.holds`.
Holds = Callable[[str, int, int], None]


class Report:
    """Reports at most every `REPORT_EVERY_S`. `holds`: None where nobody is interested."""

    def __init__(self, clock: Clock, holds: Holds | None) -> None:
        self._clock, self._holds, self._reported_s = clock, holds, 0.0

    def make(self, fold: Fold, instances: Instances) -> None:
        """Report what these take, unless that was done a moment ago."""
        now_s = self._clock.monotonic_s()
        if self._holds is None or now_s - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s = now_s
        self._holds("registry_ids", fold.held_bytes, 2 * IDS_KEPT * ID_BYTES)
        self._holds("registry_instances", *instances.held_bytes())
        self._holds("registry_versions", fold.state.versions_bytes, VERSIONS_BYTES)
