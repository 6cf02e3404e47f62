"""A deployment: its row in the table, and its page.

The mark of a row, the first that holds:

| mark      | when                                                                                     |
|-----------|------------------------------------------------------------------------------------------|
| page      | a page about it fires and is not silenced                                                |
| attention | another alert about it fires, a finding is open, its rollout waits for a person, or a fallback answers for it |
| unknown   | it is not declared any more; it has no route yet; it has labels, and its quality is not known; an alert about it is silenced |
| ok        | else                                                                                     |
"""

from headrace.events.definition import LabelDefinition
from headrace.events.registry import Route
from headrace.evidence.steps import words
from headrace.project.labels import NUMBER, Label
from headrace_console.core import findings, rollouts, windows
from headrace_console.core.acts import deployment_offers, rollout_offers
from headrace_console.core.alerts import mark_of
from headrace_console.core.documents import Deployment, DeploymentRow, Mark, Quality, RouteShare, VersionRow
from headrace_console.core.reports import Reports
from headrace_console.core.versions import row_of as version_row
from headrace_console.core.world import World

VERSIONS_SHOWN, FINDINGS_SHOWN = 30, 30
# The kind of finding that says that detectors have nothing to read.
_LABELS = "labels"


def row_of(world: World, name: str, now_s: float) -> DeploymentRow:
    """A deployment's row in the table."""
    entry, story = world.releases.entry(name), world.releases.story(name)
    project = world.deployments.get(name)
    figures = world.traffic.figures(name, now_s)
    mark, _ = mark_and_why(world, name, now_s)
    drift, word, link = _drift(world, name)
    return DeploymentRow(
        name=name,
        project=project[0].name if project is not None else "",
        mark=mark,
        champion=entry.route.champion if entry.route is not None else None,
        champion_since_s=story.champion_since_s,
        answers_per_s=figures.per_s,
        p99_ms=figures.p99_ms,
        fallback_share=figures.fallback_share,
        outcomes=figures.outcomes,
        spark=world.traffic.spark(name, now_s),
        quality=_quality(world, name),
        drift=drift,
        drift_word=word,
        drift_link=link,
        rollout=rollouts.brief_of(entry),
        event_at_s=event_at_s(world, name),
    )


def mark_and_why(world: World, name: str, now_s: float) -> tuple[Mark, str]:
    """The mark of a deployment, and what is not known about it; "" also where it is `unknown` by a silence only."""
    about = [alert for alert, _ in world.alarms.firing().values() if alert.labels.get("deployment") == name]
    alerts = [mark_of(alert) for alert in about if world.alarms.silencing(alert, now_s) is None]
    if "page" in alerts:
        return "page", ""
    entry = world.releases.entry(name)
    brief = rollouts.brief_of(entry)
    waits = brief is not None and brief.mark != "ok"
    if alerts or world.findings.open(name) or waits or degraded_of(world.reports, name, now_s):
        return "attention", ""
    why = _why_unknown(world, name)
    is_silenced = len(about) > len(alerts)
    return ("unknown" if why or is_silenced else "ok"), why


def _why_unknown(world: World, name: str) -> str:
    """Why nobody knows whether a deployment is well; "" when it is known."""
    definition = world.definition(name)
    if definition is None:
        return "no applied project declares it"
    if world.releases.entry(name).route is None:
        return "it has no version yet"
    if definition.label is None:
        return ""
    seen = world.windows.of(name)
    if seen is None:
        return "no evaluation window has closed yet"
    quality = _quality(world, name)
    return quality.why if quality is not None else ""


def _quality(world: World, name: str) -> Quality | None:
    """The quality of the registry's champion."""
    entry = world.releases.entry(name)
    champion = entry.route.champion if entry.route is not None else entry.aliases.get("champion")
    return windows.quality_of(world.windows.of(name), champion)


def degraded_of(reports: Reports, name: str, now_s: float) -> str:
    """Why a fallback answers for a deployment on a live instance; "" where its champion answers."""
    found = (report.degraded.get(name, "") for report in reports.fresh("inference", now_s))
    return next((why for why in found if why), "")


def event_at_s(world: World, name: str) -> float | None:
    """The deployment's clock: the latest instant that windows, verdicts, findings and facts of rollouts show."""
    seen, clock_s = world.windows.of(name), world.releases.story(name).clock_s
    found = [seen.newest.to_s] if seen is not None else []
    found += [clock_s] if clock_s is not None else []
    for one in world.findings.of(name).values():
        found += [one.opened.at_s] if one.resolved is None else [one.opened.at_s, one.resolved.at_s]
    return max(found, default=None)


def _drift(world: World, name: str) -> tuple[Mark, str, str]:
    """The mark of the column `drift`, its word, and what it leads to."""
    found = [one for one in world.findings.open(name) if one.opened.kind != _LABELS]
    if found:
        newest = findings.row_of(found[-1])
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return "attention", f"{words(newest.kind)}{more}", newest.link
    definition, seen = world.definition(name), world.windows.of(name)
    if definition is None or not (definition.monitoring or definition.charts):
        return "unknown", "not watched", ""
    if seen is None:
        return "unknown", "no window yet", ""
    # Detectors read figures of labels: without any, nobody knows whether something drifted.
    too_few = [one for one in world.findings.open(name) if one.opened.kind == _LABELS]
    if too_few:
        return "unknown", "too few labels", findings.row_of(too_few[-1]).link
    return ("ok", "none", "") if seen.has_labels else ("unknown", "no labels yet", "")


def document(world: World, name: str, now_s: float) -> Deployment | None:
    """The document `deployment/NAME`; None where nothing is known of it."""
    if name not in world.deployments and world.releases.entry(name).route is None:
        return None
    entry, story, definition = world.releases.entry(name), world.releases.story(name), world.definition(name)
    seen, route = world.windows.of(name), entry.route
    current = entry.rollout or (entry.last.rollout if entry.last is not None else None)
    verdict = world.releases.verdicts.get(current.id) if current is not None else None
    offers = rollout_offers(name, entry, definition)
    newest = sorted(entry.versions, reverse=True)[:VERSIONS_SHOWN]
    found = [findings.row_of(one) for one in [*world.findings.of(name).values()][-FINDINGS_SHOWN:]]
    return Deployment(
        row=row_of(world, name, now_s),
        unit=definition.unit if definition is not None else "",
        label=definition.label.name if definition is not None and definition.label is not None else "",
        horizon_s=definition.label.horizon_s if definition is not None and definition.label is not None else None,
        policy=definition.rollout.policy if definition is not None else "",
        route=_route(world, name),
        fallback=_fallback(world, name),
        reason=route.reason if route is not None else "",
        place=story.route_place,
        no_labels=seen is None or not seen.has_labels,
        label_example=example_of(definition.label) if definition is not None and definition.label is not None else None,
        rollout=rollouts.view_of(name, entry, story, verdict, offers),
        versions={str(version): _version(world, name, version) for version in newest},
        findings={row.id: row for row in found},
        degraded=degraded_of(world.reports, name, now_s),
        training=world.trainings.running(name),
        offers=(*deployment_offers(name, entry), *(offers if entry.rollout is None else ())),
    )


def example_of(label: LabelDefinition) -> Label:
    """A label that this deployment takes.

    >>> example_of(LabelDefinition("late", "binary", 60.0)), example_of(LabelDefinition("cents", "number", 60.0, 0.0, 50.0))
    (1, 25.0)
    >>> example_of(LabelDefinition("kind", "classes", 60.0, classes=("a cat", "a dog")))
    'a dog'
    """
    if label.kind == NUMBER:
        return ((label.low or 0.0) + (label.high or 0.0)) / 2
    return label.classes[1] if len(label.classes) > 1 else 1


def _version(world: World, name: str, version: int) -> VersionRow:
    return version_row(world.releases.entry(name), world.releases.story(name), version)


def _route(world: World, name: str) -> dict[str, RouteShare]:
    """The versions in the route by their digits."""
    entry = world.releases.entry(name)
    route = entry.route
    if route is None:
        return {}
    under = entry.rollout.version if entry.rollout is not None else None
    return {
        str(version): RouteShare(
            version, route.shares.get(version, 0.0), _roles(route, version, under), entry.stages.get(version, "")
        )
        for version in route.named
    }


def _roles(route: Route, version: int, under: int | None) -> tuple[str, ...]:
    named = (
        ("champion", route.champion == version), ("previous", route.previous == version),
        ("baseline", route.baseline == version), ("under rollout", under == version),
        ("shadow", version in route.shadows), ("warm", version in route.warm),
        ("passed over", any(over.version == version for over in route.passed_over)),
    )  # fmt: skip
    return tuple(role for role, holds in named if holds)


def _fallback(world: World, name: str) -> tuple[str, ...]:
    """The chain of fallback, the champion first."""
    definition = world.definition(name)
    steps = definition.fallback if definition is not None else ()
    return ("champion", *(step.kind if step.value is None else f"{step.kind} {step.value:g}" for step in steps))
