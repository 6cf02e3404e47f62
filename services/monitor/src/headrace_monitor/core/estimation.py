"""Estimates of how versions do in windows whose labels have not come, and their errors once labels came.

A window is estimated once, when the clock has passed its end and it has not closed. At most four versions are remembered, those
seen last: what a version showed as a shadow counts after its switch. A version that nobody has labelled rows of yet has no
estimate, and the reason is said. Only windows that were judged (PASS) teach anything. No finding and no verdict reads an
estimate: it is blind to a change of what scores mean.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import structs

from headrace.events.charts import Estimated
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.estimation import AwaitedWindow, EstimationState, VersionExperience
from headrace.events.monitor import VersionQuality, WindowClosed, WindowEstimated
from headrace.events.verdicts import PASS
from headrace.stats import estimation as stats
from headrace.stats.estimation import Experience
from headrace.stats.losses import CLASSES, NUMBER
from headrace.step import Step
from headrace_monitor.core.scored import Scored

MOST_VERSIONS = 4
# Over this number of open windows the estimates of the oldest are forgotten; they are made again when it closes.
MOST_AWAITED = 100
_ROLES = ("champion", "shadow")


@dataclass(frozen=True, slots=True)
class Estimation:
    """What is remembered of one deployment.

    `versions`: the experience with each version, the one seen last at the end. `awaited`: the estimates of open windows by their
    start, also those without bounds yet (infinite ones). `to_s`: windows that end by then are estimated.
    """

    versions: Mapping[int, Experience] = field(default_factory=dict)
    awaited: Mapping[float, tuple[Estimated, ...]] = field(default_factory=dict)
    to_s: float = -math.inf


def on_window_full(
    estimation: Estimation,
    deployment: DeploymentDefinition,
    from_s: float,
    scored: Sequence[Scored],
    requests: tuple[int, int],
) -> Step[Estimation, WindowEstimated]:
    """The requests of a window that begins at `from_s` are all there.

    `scored`: its scores, with or without labels. `requests`: how many there are, and how many of them have a label by now.
    """
    to_s = from_s + deployment.evaluation_window_s
    label = deployment.label
    found = () if label is None else tuple(_estimates(estimation, label, _chosen(scored)))
    awaited = dict(sorted((dict(estimation.awaited) | {from_s: found}).items())[-MOST_AWAITED:])
    event = WindowEstimated(
        deployment.name, from_s, to_s, *requests, _bounded(found), _why_not(estimation, deployment, scored)
    )
    return Step(replace(estimation, awaited=awaited, to_s=max(estimation.to_s, to_s)), (event,))


def on_window_closed(
    estimation: Estimation, label: LabelDefinition | None, scored: Sequence[Scored], window: WindowClosed
) -> Step[Estimation, Estimated]:
    """A window has closed: its estimates with what they became, and what was learnt. `scored`: its labelled scores.

    A window that closed before it could be estimated is estimated now, from what was known before it.
    """
    left = {from_s: found for from_s, found in estimation.awaited.items() if from_s > window.from_s}
    after = replace(estimation, awaited=left, to_s=max(estimation.to_s, window.to_s))
    mine = _chosen(scored)
    made = estimation.awaited.get(window.from_s)
    if label is None or window.verdict != PASS:
        return Step(after, _bounded(made or ()))
    made = tuple(_estimates(estimation, label, mine)) if made is None else made
    qualities = {(quality.version, quality.role): quality for quality in window.qualities}
    versions, became = dict(estimation.versions), list[Estimated]()
    for version, one in mine.items():
        own = [estimate for estimate in made if estimate.version == version]
        quality = qualities.get((version, one.role))
        if quality is not None:
            own = [structs.replace(estimate, realised=_realised(quality, estimate.metric)) for estimate in own]
        became += own
        before = versions.pop(version, None)
        experience = before if before is not None and _fits(before, label) else _fresh(label)
        if experience is not None:
            versions[version] = stats.learnt(_noted(experience, own), one.scores, one.labels)
    became += [estimate for estimate in made if estimate.version not in mine]
    return Step(replace(after, versions=dict(list(versions.items())[-MOST_VERSIONS:])), _bounded(became))


def _noted(experience: Experience, estimates: Sequence[Estimated]) -> Experience:
    """The experience with the errors of these estimates."""
    for one in estimates:
        if one.realised is not None:
            experience = stats.noted(experience, one.metric, stats.Expected(one.value, one.error), one.realised)
    return experience


def _bounded(estimates: Sequence[Estimated]) -> tuple[Estimated, ...]:
    """Those that are published: the ones with bounds."""
    return tuple(one for one in estimates if math.isfinite(one.low) and math.isfinite(one.high))


def _chosen(scored: Sequence[Scored]) -> dict[int, Scored]:
    """Per version its scores in one role: as champion, or as shadow where it answered nobody."""
    found: dict[int, Scored] = {}
    for role in reversed(_ROLES):
        found |= {one.version: one for one in scored if one.role == role and one.version > 0}
    return dict(sorted(found.items()))


def _estimates(estimation: Estimation, label: LabelDefinition, chosen: Mapping[int, Scored]) -> Iterator[Estimated]:
    for version, one in chosen.items():
        experience = estimation.versions.get(version)
        if experience is None or not _fits(experience, label):
            continue
        method = stats.DLE if experience.kind == NUMBER else stats.CBPE
        for name, expected in stats.expected(experience, one.scores).items():
            found = stats.bounded(experience, name, expected)
            low, high = (-math.inf, math.inf) if found is None else (found.low, found.high)
            yield Estimated(version, name, expected.value, low, high, method, error=expected.error)


def _why_not(estimation: Estimation, deployment: DeploymentDefinition, scored: Sequence[Scored]) -> str:
    """Why the versions that answer are not estimated; "" when each of them is."""
    answering = [one for one in scored if one.role == _ROLES[0] and one.version > 0]
    if not answering:
        return "no version of a model answered"
    label = deployment.label
    if label is None:
        return "no label is declared"
    if _fresh(label) is None:
        return f"the label {label.name!r} has {len(label.classes)} classes: estimates are made of at most {stats.MOST_CLASSES}"
    reasons = []
    for one in answering:
        known = estimation.versions.get(one.version)
        known = known if known is not None and _fits(known, label) else stats.experience_of(NUMBER)
        if why := stats.why_not(known, len(one.scores)):
            reasons.append(f"version {one.version} {why}")
    return "; ".join(reasons)


def _realised(quality: VersionQuality, name: str) -> float | None:
    """The metric of a closed window; None where it is not defined."""
    found = quality.metrics.get(name)
    return getattr(quality, name, None) if found is None else found


def _fresh(label: LabelDefinition) -> Experience | None:
    """The experience with a version that was not seen yet; None for a label that is not estimated."""
    if label.kind == CLASSES and not 2 <= len(label.classes) <= stats.MOST_CLASSES:
        return None
    return stats.experience_of(label.kind, len(label.classes))


def _fits(experience: Experience, label: LabelDefinition) -> bool:
    """Whether an experience is of this label: its kind, and as many classes."""
    fresh = _fresh(label)
    return fresh is not None and (fresh.kind, fresh.sums.shape) == (experience.kind, experience.sums.shape)


# What is remembered


def state_of(estimation: Estimation) -> EstimationState:
    """The memory from which `restored` goes on, exactly."""
    return EstimationState(
        tuple(_remembered(version, found) for version, found in estimation.versions.items()),
        tuple(AwaitedWindow(from_s, found) for from_s, found in estimation.awaited.items()),
        estimation.to_s if math.isfinite(estimation.to_s) else None,
    )


def restored(state: EstimationState | None) -> Estimation:
    """What a memory holds; nothing is remembered without one."""
    if state is None:
        return Estimation()
    versions = {found.version: _experience(found) for found in state.versions}
    awaited = {found.from_s: found.estimates for found in state.awaited}
    return Estimation(versions, awaited, -math.inf if state.to_s is None else state.to_s)


def _remembered(version: int, found: Experience) -> VersionExperience:
    return VersionExperience(
        version,
        found.kind,
        len(found.sums),
        tuple(found.sums.ravel().tolist()),
        tuple(found.edges.tolist()),
        found.rows,
        found.windows,
        {name: tuple(errors.ravel().tolist()) for name, errors in found.errors.items()},
    )


def _experience(found: VersionExperience) -> Experience:
    shape = stats.experience_of(found.kind).sums.shape
    return Experience(
        found.kind,
        np.array(found.sums).reshape(found.groups, *shape[1:]),
        np.array(found.edges),
        found.rows,
        found.windows,
        {name: np.array(errors).reshape(-1, 2) for name, errors in found.errors.items()},
    )
