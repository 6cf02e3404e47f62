"""Which versions do worse than the prior, for how many windows in a row, and so when one must step down or may return.

A window speaks against a version when its loss lies above that of the prior of the fallback chain on the same rows by more
than chance (one-sided, 95 %, paired by rows). Otherwise the window speaks for it. `step_down_after` such windows in a row
open a finding, and one window that speaks for the version ends it. While the finding is open the version scores in shadow,
so that its loss stays known. An alarm is raised while that version is champion; where it is not, only the fallback chain has
to know.
"""

from collections.abc import Mapping, Sequence

from headrace.events.monitor import FindingOpened, VersionQuality, WindowClosed
from headrace.log.envelope import derived_id

KIND = "worse_than_prior"
# One-sided 95 % of the normal distribution.
_Z = 1.645
# Fewer rows than this of a version say nothing about it.
LEAST_ROWS = 30


def key_of(version: int | None) -> str:
    """What the finding about a version is open under."""
    return f"{KIND}:version {version}"


def version_of(key: str) -> int:
    """The version that a key of `key_of` names."""
    return int(key.rpartition(" ")[2])


def by_version(qualities: Sequence[VersionQuality]) -> dict[int, VersionQuality]:
    """The quality of each version that can be compared with the prior, in the role in which it has most rows."""
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


def why_not_worse(quality: VersionQuality) -> str:
    """In words, what a window that speaks for a version has shown."""
    over = quality.over_prior or 0.0
    where = f"{-over:.3f} below the prior's" if over <= 0 else f"{over:.3f} above the prior's, which may be chance"
    return f"{quality.loss_name} of version {quality.version} lies {where}"


def counted(worse: Mapping[str, int], found: Mapping[int, VersionQuality]) -> dict[str, int]:
    """Windows in a row that speak against each version (keyed by its digits), after one more window.

    A version that the window does not compare keeps its number.
    """
    after = dict(worse)
    for version, quality in found.items():
        if is_worse(quality):
            after[str(version)] = after.get(str(version), 0) + 1
        else:
            after.pop(str(version), None)
    return after


def finding_of(window: WindowClosed, quality: VersionQuality, windows: int, at_s: float) -> FindingOpened:
    """The finding about a version. `windows`: how many in a row spoke against it; `at_s`: event time, in seconds."""
    what = f"{quality.loss_name} {quality.loss or 0.0:.3g} lies {quality.over_prior:.3g} above the prior's, in {windows} windows in a row"
    return FindingOpened(
        finding=derived_id(window.deployment, KIND, window.from_s, quality.version)[:16],
        deployment=window.deployment,
        kind=KIND,
        summary=f"version {quality.version} is worse than the prior: {what}; requests pass over it until it is better again",
        at_s=at_s,
        version=quality.version,
        detector="prior",
        measured=quality.over_prior,
        limit=0.0,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=f"version {quality.version}",
    )


def is_scored(champion: int | None, key: str, window: WindowClosed) -> bool:
    """Whether the version of a finding still scores requests, or is champion."""
    return version_of(key) in (champion, *(quality.version for quality in window.qualities))
