"""Which versions do worse than the prior, for how many windows in a row, and when one is to step down the ladder, or may stand on it again.

A window speaks against a version when its loss lies above that of the ladder's prior on the same rows by more than chance (one-sided,
95 %, paired by rows); for it otherwise. `step_down_after` such windows in a row open a finding, one window for it ends it. The version scores
along meanwhile, so that its figure is known. Somebody is alarmed while it is champion; of a version below it only the ladder has to know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.events.monitor import FindingOpened, VersionQuality

KIND = "worse_than_prior"
_Z = 1.645
LEAST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Concern:
    """Whether an open finding concerns the champion: then somebody has to act."""

    finding: FindingOpened
    is_on: bool


def by_version(qualities: Sequence[VersionQuality]) -> dict[int, VersionQuality]:
    """Of each version that can be compared with the prior the role in which it has most rows."""
    found: dict[int, VersionQuality] = {}
    for quality in qualities:
        if quality.version > 0 and quality.over_prior is not None and quality.rows >= LEAST_ROWS:
            known = found.get(quality.version)
            if known is None or known.rows < quality.rows:
                found[quality.version] = quality
    return found


def is_worse(quality: VersionQuality) -> bool:
    """Whether a window speaks against a version."""
    return quality.over_prior is not None and quality.over_prior > _Z * quality.over_prior_error


def not_worse(quality: VersionQuality) -> str:
    """In words, of a window that speaks for a version."""
    over = quality.over_prior or 0.0
    where = f"{-over:.3f} below the prior's" if over <= 0 else f"{over:.3f} above the prior's, which may be chance"
    return f"{quality.loss_name} of version {quality.version} lies {where}"


def counted(worse: Mapping[str, int], found: Mapping[int, VersionQuality]) -> dict[str, int]:
    """Windows in a row, by the digits of versions, after one more; a version of which it says nothing keeps its number."""
    after = dict(worse)
    for version, quality in found.items():
        if is_worse(quality):
            after[str(version)] = after.get(str(version), 0) + 1
        else:
            after.pop(str(version), None)
    return after
