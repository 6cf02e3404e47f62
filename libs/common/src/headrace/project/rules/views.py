"""Rules of feature views: their source and fields exist, and their windows are whole panes."""

import re
from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Sentence, at

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
LONGEST_WINDOW_S = 731 * bounds.DAY_S
AGGREGATIONS = ("count", "sum", "mean", "share", "min", "max", "std", "last")


def view_rules(project: d.ProjectDefinition, view: d.ViewDefinition) -> Iterator[str]:
    """The rules of one view that are broken."""
    what = bounds.named("view", view.name)
    source = next((source for source in project.sources if source.name == view.source), None)
    if source is None:
        yield f"{what}: source {view.source[:80]!r} is not in the project's sources=[...]"
        return
    kinds = {field.name: field.kind for field in source.fields}
    if not _DIGEST.fullmatch(view.digest):
        yield f"{what}: its digest must be hexadecimal, got {view.digest[:80]!r}"
    yield from bounds.count(what, "the number of entity fields", len(view.entity), 0, 20)
    for name in view.entity:
        if name not in kinds:
            yield Sentence(f"{what}: entity {name[:80]!r} is not a field of source {source.name}", ("entity",))
    if not view.features:
        yield Sentence(
            f"{what}: it has no features; give some, such as features={{'landed_3h': Count('3h')}}", ("features",)
        )
    yield from bounds.count(what, "the number of features", len(view.features), 0, bounds.MOST_FEATURES)
    if len({feature.name for feature in view.features}) < len(view.features):
        yield f"{what}: two of its features have the same name; give each its own"
    for feature in view.features:
        yield from at(("features", feature.name), _feature(what, source, kinds, feature))


def _feature(
    what: str, source: d.SourceDefinition, kinds: dict[str, str], feature: d.FeatureDefinition
) -> Iterator[str]:
    yield from bounds.text(what, "a feature's name", feature.name, 200, 1)
    name = feature.name[:80]
    yield from bounds.one_of(what, f"the aggregation of {name}", feature.aggregation, AGGREGATIONS)
    is_count = feature.aggregation == "count"
    if not is_count and kinds.get(feature.column or "") not in ("number", "integer", "flag"):
        problem = f"{name} needs a number or flag, and {str(feature.column)[:80]!r} of {source.name} is not"
        yield Sentence(f"{what}: {problem}", ("column",))
    if is_count and feature.column is not None:
        yield f"{what}: {name} counts events, and takes no column"
    yield from at(("window",), _window(what, name, feature.window_s))
    yield from at(("default",), bounds.seen(what, f"the default of {name}", feature.default))
    yield from at(("stale_after",), bounds.seconds(what, f"stale_after of {name}", feature.stale_after_s, 1))


def _window(what: str, name: str, window_s: int) -> Iterator[str]:
    if not 0 < window_s <= LONGEST_WINDOW_S:
        most = f"{LONGEST_WINDOW_S / bounds.DAY_S:g} d"
        yield f"{what}: the window of {name} must be longer than 0 s and at most {most}, got {bounds.figure(window_s)} s"
    elif window_s % pane_width_s(window_s):
        width_s = pane_width_s(window_s)
        yield f"{what}: the window of {name} must be a multiple of {width_s} s, got {window_s} s"


def pane_width_s(window_s: int) -> int:
    """The pane width of a window: five minutes up to 3 h, one hour up to 3 d, one day above.

    >>> pane_width_s(3 * 3600), pane_width_s(86_400)
    (300, 3600)
    """
    if window_s <= 3 * 3600:
        return 300
    return 3600 if window_s <= 3 * 86_400 else 86_400
