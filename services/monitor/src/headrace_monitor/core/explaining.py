"""What a finding rests on: where it began, which requests show it, what moved with it, and who writes differently since.

| kind                       | figure of a request, by which the segment is found                                     |
|----------------------------|----------------------------------------------------------------------------------------|
| `drift`                    | its loss above the one that the version's own score leads one to expect; of a number its squared error |
| `worse_than_prior`         | its loss above the prior's                                                             |
| `skew`                     | 1 where its row differs from the recomputed one                                        |
| `labels`                   | 1 where it has no label                                                                |
| `contract`, `inputs`       | 1 where the column, or a feature of the source's column, has no value                  |
| `traffic`                  | none                                                                                   |

Decisions are those that are read again of the window in which the finding opens, at most 5,000. What a finding brings itself
(its requests, its first place) stays. `Usual` remembers, per deployment, what a later finding is compared with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade
from headrace.events.monitor import (
    FindingEvidence,
    FindingOpened,
    Moved,
    PartsSeen,
    ProducerChanged,
    SourceProfile,
    Usual,
    WindowBegin,
    WindowClosed,
)
from headrace.features.parity import parity
from headrace.project.labels import CLASSES, NUMBER
from headrace.stats.losses import losses
from headrace_monitor.core import drift, missing_labels, segments, skew, worse_than_prior
from headrace_monitor.core.evaluation import WindowInputs, comparable_of, prior_of
from headrace_monitor.core.quality import SPREAD_SHARE
from headrace_monitor.core.segments import Parts, divided, segment_of, usual_of
from headrace_monitor.core.source_evidence import first_of_source, reading, sources_moved
from headrace_monitor.core.window_sample import CODE, VERSION, Sample, answered_by, sample_of

Floats = NDArray[np.float64]

MOST_REQUESTS, MOST_MOVED, MOST_PRODUCERS = 10, 12, 8
# Windows whose beginning is known, and changes of producers that are.
WINDOWS_KEPT, CHANGES_KEPT = 64, 16
# A share of broken requests below this one explains nothing.
_LEAST_BROKEN = 0.01
_KNOWN_PRODUCERS = 4


@dataclass(frozen=True)
class Explained:
    """What findings of a window are explained by. `sample`: of its decisions; `parts`: of its columns."""

    inputs: WindowInputs
    window: WindowClosed
    usual: Usual
    sample: Sample
    parts: tuple[Parts, ...]
    before: Mapping[str, PartsSeen]


def look_at(inputs: WindowInputs, window: WindowClosed, usual: Usual | None, champion: int | None) -> Explained:
    """The window beside what was usual before it. `champion`: what is usual of another version is forgotten."""
    known = usual or Usual()
    if known.version != champion:
        known = msgspec.structs.replace(known, version=champion, parts=())
    sample = sample_of(inputs.deployment, inputs.rows, inputs.sample, inputs.columns)
    before = usual_of(known.parts, sample.columns)
    parts = tuple(divided(column, before.get(name)) for name, column in sample.columns.items())
    seen = Explained(inputs, window, known, sample, parts, before)
    return replace(seen, usual=_followed(seen))


def usual_after(seen: Explained, *, is_usual: bool) -> Usual:
    """What is remembered after the window. `is_usual`: its figures are what later ones are compared with."""
    if not is_usual or not len(seen.sample):
        return seen.usual
    figure = _excess(seen, seen.usual.version)
    if np.isnan(figure).all():
        return seen.usual
    return msgspec.structs.replace(seen.usual, parts=segments.after_window(seen.before, seen.parts, figure))


def explained(
    found: FindingOpened, seen: Explained, usual_profiles: Mapping[str, Sequence[SourceProfile]]
) -> FindingOpened:
    """The finding with its evidence. `usual_profiles`: per source its profiles in windows in which it was as usual."""
    own = found.evidence or FindingEvidence()
    figure = _figure(found, seen)
    usual = seen.before if found.kind == drift.KIND else {}
    standing = None if figure is None else segment_of(seen.parts, figure, usual)
    place, at_s = (own.first_place, own.first_at_s) if own.first_place else _first(found, seen, figure)
    evidence = FindingEvidence(
        first_place=place,
        first_at_s=at_s,
        requests=own.requests or _requests(seen, _inside(figure, standing), found.kind),
        segment=own.segment or (None if standing is None else standing[0]),
        moved=(own.moved or (*_columns_moved(seen.window), *sources_moved(seen.window, usual_profiles)))[:MOST_MOVED],
        producers=own.producers or _producers(found, seen),
        charts=own.charts,
    )
    return msgspec.structs.replace(found, evidence=evidence)


# The figure of a request


def _figure(found: FindingOpened, seen: Explained) -> Floats | None:
    """By which requests are told apart, shape (n,); None where nothing tells them apart."""
    match found.kind:
        case drift.KIND:
            return _excess(seen, found.version)
        case worse_than_prior.KIND:
            return _over_prior(seen, found.version)
        case skew.KIND:
            return _skewed(seen)
        case missing_labels.KIND:
            return _broken(np.isnan(seen.inputs.rows.labels[seen.sample.rows]))
        case _:
            columns = [
                seen.sample.columns[name] for name in reading(seen.inputs, found.about) if name in seen.sample.columns
            ]
            return _broken(np.any([np.isnan(column.values) for column in columns], axis=0)) if columns else None


def _broken(is_broken: NDArray[np.bool_]) -> Floats | None:
    return is_broken.astype(np.float64) if len(is_broken) and is_broken.mean() >= _LEAST_BROKEN else None


def _skewed(seen: Explained) -> Floats:
    inputs = seen.inputs
    found = parity(inputs.project, inputs.deployment, inputs.tables, inputs.topics, comparable_of(inputs)).differs
    return np.array([float(found.get(decision.request_id, math.nan)) for decision in seen.sample.decisions])


def _excess(seen: Explained, version: int | None) -> Floats:
    """The loss of each request above the expected one; NaN without a label or a score of the version."""

    def excess(kind: str, scores: Floats, labels: Floats, scale: float) -> Floats:
        found = losses(kind, scores, labels, scale)
        if kind == NUMBER:
            return found
        both = scores if kind == CLASSES else np.stack([1.0 - scores, scores], axis=1)
        return found + (both * np.log(np.clip(both, 1e-15, 1.0))).sum(axis=1)

    return _losses(seen, version, excess)


def _over_prior(seen: Explained, version: int | None) -> Floats:
    prior = prior_of(seen.inputs.deployment)

    def over(kind: str, scores: Floats, labels: Floats, scale: float) -> Floats:
        constant = np.broadcast_to(np.asarray(prior, dtype=np.float64), scores.shape)
        return losses(kind, scores, labels, scale) - losses(kind, constant, labels, scale)

    fits = prior is not None and _is_wide(seen, prior)
    return _losses(seen, version, over) if fits else np.full(len(seen.sample), np.nan)


def _is_wide(seen: Explained, prior: float | tuple[float, ...]) -> bool:
    label = seen.inputs.deployment.label
    return label is not None and (
        len(prior) == len(label.classes) if isinstance(prior, tuple) else label.kind != CLASSES
    )


def _losses(seen: Explained, version: int | None, of: Callable[[str, Floats, Floats, float], Floats]) -> Floats:
    """`of(kind, scores, labels, scale)` per request, NaN without a label or a score of the version."""
    label, found = seen.inputs.deployment.label, np.full(len(seen.inputs.rows), np.nan)
    if label is not None:
        scale = 1.0 if label.low is None or label.high is None else (label.high - label.low) * SPREAD_SHARE
        for scored in seen.inputs.scored:
            if scored.version == version:
                found[scored.rows] = of(label.kind, scored.scores, scored.labels, scale)
    return found[seen.sample.rows]


# Where it began


def _first(found: FindingOpened, seen: Explained, figure: Floats | None) -> tuple[str, float | None]:
    """The first record that shows it, and its instant; "" and None where no record does."""
    by_source = first_of_source(found, seen.inputs, seen.window)
    if by_source is not None:
        return by_source
    changed_s = found.changed_at_s
    if changed_s is not None and changed_s < seen.window.from_s:
        begin = next((one for one in seen.usual.begins if one.from_s >= changed_s), None)
        if begin is not None:
            return begin.place, begin.at_s
    if found.kind in (drift.KIND, worse_than_prior.KIND) or figure is None:
        begin = _begin(seen)
        return ("", None) if begin is None else (begin.place, begin.at_s)
    shows = np.flatnonzero(figure > 0)
    return _place(seen, int(seen.sample.rows[shows[0]])) if len(shows) else ("", None)


def _begin(seen: Explained) -> WindowBegin | None:
    """Where the window began; None where it holds nothing."""
    table = seen.inputs.rows.table
    if not len(table):
        return None
    row = int(np.lexsort((table["offset"], table["partition"], table["at_s"]))[0])
    place, at_s = _place(seen, row)
    return WindowBegin(seen.window.from_s, at_s, place)


def _place(seen: Explained, row: int) -> tuple[str, float]:
    table = seen.inputs.rows.table
    return f"{seen.inputs.decisions}/{table['partition'][row]}/{table['offset'][row]}", float(table["at_s"][row])


def _inside(figure: Floats | None, standing: tuple[object, NDArray[np.bool_]] | None) -> Floats | None:
    """The figure of the requests of a segment only, where there is one."""
    return figure if figure is None or standing is None else np.where(standing[1], figure, np.nan)


def _requests(seen: Explained, figure: Floats | None, kind: str) -> tuple[str, ...]:
    """The requests that show it: of a loss those with the highest one, else the first ones."""
    if figure is None:
        return ()
    shows = np.flatnonzero(figure > 0)
    if kind in (drift.KIND, worse_than_prior.KIND):
        shows = shows[np.argsort(-figure[shows], kind="stable")]
    return tuple(seen.sample.decisions[place].request_id for place in shows[:MOST_REQUESTS])


# What changed with it


def _columns_moved(window: WindowClosed) -> tuple[Moved, ...]:
    """Columns whose distribution moved, the furthest first."""
    moved = sorted((one for one in window.columns if one.is_moved), key=lambda one: -one.psi)
    return tuple(Moved(one.column, "psi", one.psi) for one in moved)


def _producers(found: FindingOpened, seen: Explained) -> tuple[str, ...]:
    """Who writes differently: since the window before the change."""
    since_s = seen.window.from_s if found.changed_at_s is None else min(found.changed_at_s, seen.window.from_s)
    since_s -= seen.inputs.deployment.evaluation_window_s
    changes = [one for one in seen.usual.changed if one.at_s >= since_s]
    return tuple(f"{one.what}: {one.before} -> {one.after}" for one in changes[-MOST_PRODUCERS:])


def _followed(seen: Explained) -> Usual:
    """What is remembered of where windows began and of who wrote, with this window."""
    known, begin = seen.usual, _begin(seen)
    begins = known.begins if begin is None else (*known.begins, begin)[-WINDOWS_KEPT:]
    producers, changed = dict(known.producers), list(known.changed)
    for what, of in (("code", CODE), ("version", VERSION), ("definition", "")):
        wrote = _wrote(seen.sample.decisions, of)
        before = producers.get(what, ())
        for name, at_s in wrote.items():
            if before and name not in before:
                changed.append(ProducerChanged(at_s, what, before[0], name))
        if wrote:
            producers[what] = tuple(list(wrote)[::-1][:_KNOWN_PRODUCERS])
    changed.sort(key=lambda one: one.at_s)
    return msgspec.structs.replace(known, begins=begins, producers=producers, changed=tuple(changed[-CHANGES_KEPT:]))


def _wrote(decisions: Sequence[DecisionMade], of: str) -> dict[str, float]:
    """Who wrote, with the instant since when, in the order of appearance."""
    found: dict[str, float] = {}
    for decision in decisions:
        version = answered_by(decision)
        name = {CODE: decision.code_version, VERSION: "" if version is None else str(version)}.get(
            of, decision.signature[:12]
        )
        if name:
            found.setdefault(name, decision.at_s)
    return found
